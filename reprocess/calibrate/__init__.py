"""A camera epoch from stars: of a table, or of a campaign's own images."""

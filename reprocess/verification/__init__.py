"""Every byte of a store against its record, every number against its source; and repair."""

"""The run report: one self-contained page of what a run did and what its store now holds."""

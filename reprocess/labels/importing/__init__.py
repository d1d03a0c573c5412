"""Labels drawn in other programs, brought into a labelled set."""

"""Formats of data files that are read in a way of their own: each module reads one kind, or says that it is none."""

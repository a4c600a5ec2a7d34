"""Formats of data files: each module reads one kind, or says that it is none."""

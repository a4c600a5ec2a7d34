"""Formats of files that tools and corpora have of their own, each made into rows."""

"""One training, several times: over seeds, or in search of a better recipe."""

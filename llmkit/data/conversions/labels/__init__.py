"""Labels as people have them: numbers or classes, in columns of 0 and 1, several in one cell."""

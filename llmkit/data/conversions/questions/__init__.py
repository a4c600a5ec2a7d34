"""Questions with their answers in a context, or with their choices, as people have them."""

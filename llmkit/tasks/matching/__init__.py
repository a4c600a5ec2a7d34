"""How a task is found for a dataset: by what its columns hold, and by what they are called in several languages."""

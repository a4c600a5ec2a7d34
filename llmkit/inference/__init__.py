"""Ask a model: predictions, generated text, conversations, vectors, answers from a folder."""

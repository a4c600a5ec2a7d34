"""The rows that are trained on: mixed, streamed, in batches of like length."""

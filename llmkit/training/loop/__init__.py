"""The training loop: transformers' Trainer with llmkit's recipe, losses, callbacks and trackers."""

"""Texts as models read them: prompts in the chat template, and the control tokens that no text may spell."""

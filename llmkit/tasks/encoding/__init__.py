"""Rows to tokens and tensors: what several tasks share."""

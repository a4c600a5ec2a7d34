"""Servers that answer in place of a model in this process: asked over HTTP, and started where that is wanted."""

"""Train: from what the user typed to a finished run folder."""

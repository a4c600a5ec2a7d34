"""What several commands share: how answers and results are handed over, standard input, a conversation."""

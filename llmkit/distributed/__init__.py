"""Several processes that run one command: which one this is, how they join, and what each tells the others."""

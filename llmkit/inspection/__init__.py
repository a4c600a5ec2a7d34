"""Look at rows before anything is trained on them: what is wrong with them, and what a model will see."""

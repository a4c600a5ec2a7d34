"""What llmkit says, shows and writes down: each view is a function of a versioned result."""

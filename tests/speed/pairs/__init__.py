"""llmkit's commands in pairs with what a user would run instead: rows, rounds A B A B, results as JSON and a table."""

"""What a scenario file imports: the language of scenarios, and nothing of the machinery that runs them."""

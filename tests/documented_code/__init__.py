"""What the documents say is code: found, parsed and run. `rules` says what is run how, and what is not run and why."""

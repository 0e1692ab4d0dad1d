"""The paper's tables, run: which runs their rows need, what came out, and what of the paper's text holds."""

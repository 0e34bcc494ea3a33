"""The training loop, which knows no engine, and what it is composed of."""

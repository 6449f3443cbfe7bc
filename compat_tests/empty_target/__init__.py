"""A target without any name. A redirection that works lets no test pass on it."""

"""A task hub in one SQLite file."""

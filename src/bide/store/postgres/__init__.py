"""A task hub in PostgreSQL."""

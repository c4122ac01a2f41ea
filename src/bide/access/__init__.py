"""Keys: of callers, on a file or on the server, and those under which secrets are sealed."""

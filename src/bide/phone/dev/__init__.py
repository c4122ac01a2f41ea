"""A telephone on this machine, for development: it takes the carrier's place."""

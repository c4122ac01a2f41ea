"""Floor 3: the only floor with loops and sleeping."""

"""Floor 1: the pure core. Values in, values out; no clock, no I/O, no event loop."""

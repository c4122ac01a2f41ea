"""Floor 2: where batches become durable. `protocol.Store` is the port; the other modules implement it."""

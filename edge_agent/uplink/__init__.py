"""From the outbox to the cloud: a bounded window of batches in flight, each sent until it is acknowledged."""

"""OPC UA by asyncua: subscriptions, decoded in columns."""

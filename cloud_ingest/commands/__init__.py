"""Commands to agents: taken, approved, signed, sent until the agent has them, and what it reports of them."""

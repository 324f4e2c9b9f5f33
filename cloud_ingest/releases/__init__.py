"""Releases of the agent in the cloud: packages, and rollouts that bring agents to one, group by group."""

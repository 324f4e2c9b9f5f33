"""Simulated machines: how a press and an oven behave, and the servers through which they show it."""

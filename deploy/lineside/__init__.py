"""A complete plant on one machine: the demo and its simulated machines."""

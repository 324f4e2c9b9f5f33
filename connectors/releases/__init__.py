"""A release of Lineside as one signed file: what it says of itself, and how it is read."""

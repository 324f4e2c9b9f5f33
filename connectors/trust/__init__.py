"""Certificates of applications: our own, those of servers that people here have accepted, and how one is judged."""

"""Samples, tags, quality, delivery identities and errors: plain values, without I/O (standard library and NumPy)."""

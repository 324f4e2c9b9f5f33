"""Customers' orders: quoted, paid, produced, shipped, and taken back where something fails."""

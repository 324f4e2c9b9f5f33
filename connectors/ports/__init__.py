"""What Lineside asks of the outside: one protocol class a port. Adapters keep these contracts, the programs rely on them."""

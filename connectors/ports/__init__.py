"""What Lineside asks of the outside, one protocol a port: adapters keep these contracts, the programs rely on them."""

"""Everything that Lineside says to the outside: the model, the ports, and one adapter a protocol."""

"""Production lines: what they are made of, what state they are in, what they count, and the work orders on them."""

"""What a command is, on both sides of the wire: envelope, signature, states, refusals and reports. No I/O, no clock."""

"""Modbus by pymodbus: coalesced polls, decoded by a plan computed once."""

"""Servers that the demo and the tests start on this machine: PostgreSQL, Mosquitto, and a broker to fall back on."""

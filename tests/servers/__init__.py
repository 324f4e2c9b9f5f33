"""Real servers that tests start on this machine; PostgreSQL and the MQTT brokers come from ``lineside.servers``."""

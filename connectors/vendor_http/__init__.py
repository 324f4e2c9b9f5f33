"""How vendors are asked over HTTP: one client, and their refusals as what the caller does next."""

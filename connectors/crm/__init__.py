"""Customer relations: HubSpot, and a system that is built in."""

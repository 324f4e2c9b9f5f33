"""Shipping: ShipEngine, and a carrier that is built in."""

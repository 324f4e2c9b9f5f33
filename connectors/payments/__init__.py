"""Payments: Stripe, and a gateway that is built in."""

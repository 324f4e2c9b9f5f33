"""Customers' orders, from the quote to the shipment."""

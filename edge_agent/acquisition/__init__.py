"""From drivers to the outbox: one acquisition a device, one collector for all of them."""

"""What happens to samples after they are stored: rollups, packing of closed days, retention."""

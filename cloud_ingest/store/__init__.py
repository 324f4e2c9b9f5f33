"""The tables of the cloud side, and how they come to be."""

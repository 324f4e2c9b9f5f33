"""Products, routings and documents, and logs that can be searched."""

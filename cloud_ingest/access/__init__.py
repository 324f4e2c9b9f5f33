"""Who asks, what they may do, and what every route holds its requests to."""

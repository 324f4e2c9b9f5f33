"""OEE, losses and reports, hour by hour, from what lines tell."""

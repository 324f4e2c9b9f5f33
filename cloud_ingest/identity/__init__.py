"""People, programs and customers: who they are, how they show it, and what they may."""

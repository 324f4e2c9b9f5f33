"""The demo: a complete plant on one machine, each program in a process of its own, and a live view of it."""

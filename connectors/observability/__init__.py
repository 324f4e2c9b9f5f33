"""How both programs tell what happens: typed events, log lines, metrics."""

"""Sparkplug B 3.0 without I/O: topics, payloads, the delivery metrics of Lineside, and both sides' sessions."""

"""The gRPC API (``lineside.v1``) of the gateway: what REST and the live stream have, for low-latency backends.

Who asks, what they may, limits, request ids and refusals are those of the gateway (``access.admission.Entrance``).
"""

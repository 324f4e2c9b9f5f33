"""Version 1 (``lineside.v1``): fields and methods are added to it, none is removed or changes its meaning.

``from connectors.lineside_api.v1 import data_pb2, data_pb2_grpc``; it needs grpcio and protobuf, and nothing else.
"""

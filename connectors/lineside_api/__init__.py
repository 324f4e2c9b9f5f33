"""The gRPC API for programs of others: protobuf files, and the Python stubs that are made from them."""

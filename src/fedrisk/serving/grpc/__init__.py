"""The Open Inference Protocol over gRPC, beside the API in the same process; off by default.

Nothing here loads grpcio before a server is made.
"""

"""The Open Inference Protocol over gRPC, beside the API in the same process; off by default.

Nothing here loads grpcio before a server is made.
"""

import os

# gRPC's core writes lines of its own to standard error, past the log and its format, among them one
# for each batch whose process starts. The processes that are started load no gRPC: there is nothing
# to hold still for them. Both are read when grpcio is loaded; an operator's own choice stays.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

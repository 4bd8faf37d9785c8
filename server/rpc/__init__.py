"""The gRPC face: calls of `sesame.v1.ImageClassifier` to and from the service."""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # before grpc is imported: child processes never use it
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else each failed TLS handshake writes a line past the log

from server.rpc.face import RpcFace

__all__ = ["RpcFace"]

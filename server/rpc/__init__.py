"""The gRPC face: calls of `sesame.v1.ImageClassifier` to and from the service."""

from server.rpc.face import RpcFace

__all__ = ["RpcFace"]

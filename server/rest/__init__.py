"""The REST face: HTTP and JSON to and from the service."""

from server.rest.face import RestFace

__all__ = ["RestFace"]

"""The REST face: HTTP and JSON to and from the service."""

from server.rest.admin import AdminFace
from server.rest.face import RestFace

__all__ = ["AdminFace", "RestFace"]

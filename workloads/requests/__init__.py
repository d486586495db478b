"""Requests to inference services: generated or read, in chunks, never a whole day in memory."""

from workloads.requests.source import REQUEST_SOURCES, RequestSource, build_requests
from workloads.requests.table import Requests

__all__ = ["REQUEST_SOURCES", "RequestSource", "Requests", "build_requests"]

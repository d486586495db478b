"""What can go wrong in the live backend."""

from __future__ import annotations


class BackendError(ValueError):
    """A setting or a state of the live backend that can't be; the message says what to do."""


class TokenRefused(BackendError):
    """A controller that doesn't know the token that an agent came with."""

"""What the system calls of several socket I/O schemes can take."""

__all__ = ["FD_SETSIZE", "MAX_TIMEOUT"]

FD_SETSIZE = 1024
"""select(2) takes descriptors below it."""
MAX_TIMEOUT = 86400.0
"""Seconds to wait at a time: a poll may return early, and a day fits into every C integer."""

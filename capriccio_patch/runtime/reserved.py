"""The numbers of the runtime's own descriptors, of which the program knows nothing.

A program that becomes a daemon closes all numbers that it did not open itself.  To it those of the
runtime are not open: ``os.closerange`` passes them over, and ``os.close`` has EBADF.  Whoever opens
one reserves it, and releases it before it is closed.
"""

from __future__ import annotations

__all__ = ["RESERVED"]

RESERVED: set[int] = set()

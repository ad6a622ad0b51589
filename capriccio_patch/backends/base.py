"""What a socket I/O scheme of a third party imports: its contract, and what such schemes share."""

from ..contracts.socket_backend import Backend
from .notifier import Notifier, notice_reuse

__all__ = ["Backend", "Notifier", "notice_reuse"]

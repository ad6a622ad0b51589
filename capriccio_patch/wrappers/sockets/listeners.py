"""``socket.socket``: what makes an object of an accepted connection, and what closes it.

Both are Python in the standard library and would work as they are.  But accepting asks the listener
for its family and its type as members of enumerations, which takes longer than all else that it
does, only to hand them on to C.  A class of the program's own goes the standard library's way, and
so does every listener where another class stands for ``socket.socket``.  Closing is the standard
library's: it is a row for the compiled core, whose close makes no call for each step.

Source followed: Lib/socket.py.
"""

from __future__ import annotations

from ...cpython import originals
from ...cpython.modules import standard
from ..base import Patch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]


def patches() -> list[Patch]:
    """The rows of this module."""
    module = standard("socket")
    cls: Any = module.socket
    stock_accept = cls.accept

    def accept(self: Any) -> Any:
        if type(self) is not cls or module.socket is not cls:
            return stock_accept(self)
        number, address = self._accept()
        family, kind = originals.socket_family(self), originals.socket_type(self)
        connection = cls(family, kind, originals.socket_proto(self), fileno=number)
        if module.getdefaulttimeout() is None and self.gettimeout():
            connection.setblocking(True)
        return connection, address

    return [
        Patch("socket", "socket", "socket.accept", accept),
        Patch("socket", "socket", "socket.close", cls.close),
    ]

"""Whether the program has audit hooks: CPython tells that nowhere.

1. An event that cannot be made is an error where there are hooks, and not looked at without any.
2. No hook is called by asking, but for ``ctypes.call_function``, once, from CPython 3.14.
"""

from __future__ import annotations

import ctypes
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["is_audited"]

_audit: Any = sys.audit
_make_event = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)(
    ("PySys_Audit", ctypes.pythonapi)
)
_has_hooks = False
"""Those that there are stay."""


def is_audited() -> bool:
    """Whether there are audit hooks, of this interpreter or of C code.  Any OS thread.

    From CPython 3.14, ``sys.audit`` looks at the event before it looks for hooks, and
    PySys_Audit (Python/sysmodule.c) does not.
    """
    global _has_hooks
    if not _has_hooks:
        try:
            if sys.version_info >= (3, 14):
                _make_event(b"capriccio_patch", b"!")  # no format of an argument
            else:
                _audit(0)
        except (SystemError, TypeError):
            _has_hooks = True
    return _has_hooks

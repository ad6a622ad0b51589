"""python launch.py RUNTIME PROGRAM ARGUMENTS...: runs a program under one of the runtimes.

Run by path, never imported: a runtime must find an interpreter that has imported nothing of ours.
"""

from __future__ import annotations

import _thread
import os
import runpy
import sys

# Locks that exist before the patch, for the programs that measure them.
sys.early_locks = (_thread.allocate_lock(), _thread.RLock())  # type: ignore[attr-defined]


def patch(runtime: str) -> None:
    """Take over what `runtime` takes over."""
    if runtime == "capriccio":
        import capriccio_patch

        capriccio_patch.patch_all()
    elif runtime == "gevent":
        from gevent import monkey

        monkey.patch_all()
    elif runtime == "eventlet":
        import eventlet

        eventlet.monkey_patch()
    elif runtime == "uvloop":
        import uvloop

        uvloop.install()
    elif runtime not in ("stock", "asyncio"):
        raise SystemExit(f"no such runtime: {runtime}")


if __name__ == "__main__":
    patch(sys.argv[1])
    del sys.argv[:2]
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
    runpy.run_path(sys.argv[0], run_name="__main__")

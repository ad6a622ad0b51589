"""One row in this interpreter: ``python -m capriccio_patch.audit.child HOW FAMILY ROW LIMIT DIR``.

1. What is known of the row is written to the standard output that the process began with, as one
   line of JSON; the row may do to descriptor 1 what it likes.
2. The process ends with that, however many threads and children still live.
3. A row that has not ended after LIMIT seconds hangs.  Where each thread is, green or not, is
   written to standard error, and the process ends.
4. What the row leaves in files lies in DIR, which the parent removes.
"""

from __future__ import annotations

import faulthandler
import json
import os
import platform
import sys
import traceback
from importlib import import_module
from typing import Any

import capriccio_patch

_LINES = 8
_IN_NAMESPACE = "disks"


def main(how: str, family: str, name: str, limit: str, directory: str) -> None:
    """Run the row and report; `how` is "patched" or "stock"."""
    os.chdir(directory)
    report_to = os.dup(1)
    errors_to = os.dup(2)
    seconds = float(limit)
    if family == _IN_NAMESPACE:
        _enter_namespace()
    faulthandler.dump_traceback_later(seconds + 1, exit=True, file=errors_to)
    patch = how == "patched"
    if patch:
        capriccio_patch.patch_all()
    # Only now, so that these modules find what a program finds that is patched at its start.
    from . import scene as scenes
    from . import unpatched

    unpatched.start_new_thread(_watch, (seconds, errors_to, report_to))
    import_module(f"{__package__}.rows.{family}")
    row = scenes.ROWS[name]
    if patch and row.offload:
        capriccio_patch.offload(*row.offload)
    # Under the patch all threads tick on the process's first OS thread.
    scene = scenes.Scene(lambda: unpatched.cpu_delay(os.getpid())) if patch else scenes.Scene()
    report: dict[str, Any] = {"skip": ""}
    try:
        report["outcome"] = repr(row.run(scene))
    except scenes.Skip as skip:
        report["skip"] = str(skip)
    except BaseException as error:
        traceback.print_exc()
        report["outcome"] = f"{type(error).__name__}: {error}"
    report |= {"waited": scene.waited, "gap": scene.longest, "ticks": scene.ticks}
    report["began"] = scene.over
    report["python"] = platform.python_version()
    if patch:
        status = capriccio_patch.status()
        report |= {key: status[key] for key in ("sockio", "diskio", "scheduler")}
    _finish(report_to, report)


def _enter_namespace() -> None:
    """While there is one OS thread; if it can't be, the row will find that it can't mount."""
    from .namespace import enter

    try:
        enter()
    except OSError:
        pass


def _finish(report_to: int, report: dict[str, Any]) -> None:
    from . import unpatched

    sys.stderr.flush()
    unpatched.write(report_to, (json.dumps(report) + "\n").encode())
    unpatched.process_exit(0)


def _watch(limit: float, errors_to: int, report_to: int) -> None:
    """On a real OS thread: tell where all are when the time is over."""
    from . import scene, unpatched

    scene.block_signals()
    unpatched.sleep(limit)
    import gc

    from greenlet import greenlet

    stacks = [item.gr_frame for item in gc.get_objects() if isinstance(item, greenlet)]
    text = ""
    for number, frame in enumerate([*stacks, *sys._current_frames().values()]):
        if frame is not None:
            text += f"thread {number}:\n" + "".join(traceback.format_stack(frame)[-_LINES:])
    unpatched.write(errors_to, text.encode())
    _finish(report_to, {"skip": "", "hangs": True})


if __name__ == "__main__":
    main(*sys.argv[1:])

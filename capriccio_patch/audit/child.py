"""One row in this interpreter: ``python -m capriccio_patch.audit.child HOW FAMILY ROW LIMIT``.

1. What is known of the row is written to the standard output that the process began with, as one
   line of JSON; the row may do to descriptor 1 what it likes.
2. The process ends with that, however many threads and children still live.
3. A row that has not ended after LIMIT seconds hangs.  Where each thread is, green or not, is
   written to standard error, and the process ends.
"""

from __future__ import annotations

import faulthandler
import json
import os
import platform
import signal
import sys
import traceback
from importlib import import_module
from typing import Any

import capriccio_patch
from capriccio_patch import originals
from capriccio_patch.runtime.lateness import cpu_delay

_LINES = 8
_IN_NAMESPACE = "disks"


def main(how: str, family: str, name: str, limit: str) -> None:
    """Run the row and report; `how` is "patched" or "stock"."""
    report_to = os.dup(1)
    errors_to = os.dup(2)
    seconds = float(limit)
    if family == _IN_NAMESPACE:
        _enter_namespace()
    faulthandler.dump_traceback_later(seconds + 1, exit=True, file=errors_to)
    originals.start_new_thread(_watch, (seconds, errors_to, report_to))
    patch = how == "patched"
    if patch:
        capriccio_patch.patch_all()
    scene_module = import_module("capriccio_patch.audit.scene")
    import_module(f"capriccio_patch.audit.rows.{family}")
    row = scene_module.ROWS[name]
    if patch and row.offload:
        capriccio_patch.offload(*row.offload)
    scene = scene_module.Scene(_starved) if patch else scene_module.Scene()
    report: dict[str, Any] = {"skip": ""}
    try:
        report["outcome"] = repr(row.run(scene))
    except scene_module.Skip as skip:
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


def _starved() -> float:
    """As `Scene` wants it: under the patch all threads tick on the process's first OS thread."""
    return cpu_delay(os.getpid()) or 0.0


def _enter_namespace() -> None:
    """While there is one OS thread; if it can't be, the row will find that it can't mount."""
    from .namespace import enter

    try:
        enter()
    except OSError:
        pass


def _finish(report_to: int, report: dict[str, Any]) -> None:
    sys.stderr.flush()
    originals.write(report_to, (json.dumps(report) + "\n").encode())
    originals.process_exit(0)


def _watch(limit: float, errors_to: int, report_to: int) -> None:
    """On a real OS thread: tell where all are when the time is over."""
    originals.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    originals.sleep(limit)
    import gc

    from greenlet import greenlet

    stacks = [item.gr_frame for item in gc.get_objects() if isinstance(item, greenlet)]
    text = ""
    for number, frame in enumerate([*stacks, *sys._current_frames().values()]):
        if frame is not None:
            text += f"thread {number}:\n" + "".join(traceback.format_stack(frame)[-_LINES:])
    originals.write(errors_to, text.encode())
    _finish(report_to, {"skip": "", "hangs": True})


if __name__ == "__main__":
    main(*sys.argv[1:])

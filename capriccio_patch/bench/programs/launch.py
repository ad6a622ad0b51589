"""python launch.py SOURCE PROGRAM ARGUMENTS...: runs a program after the source of a patch.

Run by path, never imported: a runtime must find an interpreter that has imported nothing of ours.
"""

from __future__ import annotations

import _thread
import os
import runpy
import sys

# Locks that exist before the patch, for the programs that measure them.
sys.early_locks = (_thread.allocate_lock(), _thread.RLock())  # type: ignore[attr-defined]

if __name__ == "__main__":
    source, program = sys.argv[1:3]
    try:
        exec(source, {})
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
    del sys.argv[:2]
    sys.path.insert(0, os.path.dirname(os.path.abspath(program)))
    runpy.run_path(program, run_name="__main__")

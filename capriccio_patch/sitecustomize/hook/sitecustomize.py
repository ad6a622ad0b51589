"""Patches this interpreter as it starts, then runs the sitecustomize that this file hides.

What patches is capriccio_autopatch, beside this file. A folder that is on the path for these two
alone (a patched parent has put it there) is taken off it, so that the program's path is its own.
The hidden sitecustomize is the one that Python would import if this file were not there. It takes
this module's place in `sys.modules`, and its errors are reported by Python as they always are.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

import capriccio_autopatch


def _run_hidden() -> None:
    here = os.path.dirname(__file__)
    path = [entry for entry in sys.path if entry != here]
    if capriccio_autopatch._INHERITED:
        sys.path[:] = path
    spec = PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_run_hidden()

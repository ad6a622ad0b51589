"""Patches this interpreter as it starts, if CAPRICCIO_PATCH=1 and it is not a packaging tool.

Importing this module does it, once: `capriccio_patch.pth` and `sitecustomize.py` both do.  It is
found in an environment that it was installed into, or in the package itself, whose folder a patched
parent has put into PYTHONPATH.

1. Nothing that goes wrong here stops Python from starting: it costs one line on standard error, and
   the program runs unpatched. (Ctrl-C stops it, as it does a Python without this file.)
2. pip, venv and other tools that make environments and packages, and whatever they start, run
   unpatched.
3. Children inherit the patching, because they inherit the variable and the environment.
4. A child of a patched parent that does not find the package on its own path takes the parent's.
5. An interpreter that is not to listen to the environment (-I, -E) is not patched.

This runs before `sys.argv` is complete, so it reads `sys.orig_argv`; and in interpreters that will
not be patched, so it imports nothing but what Python has loaded already.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_UNPATCHED_TOOLS = (
    "pip",
    "venv",
    "ensurepip",
    "virtualenv",
    "build",
    "setup.py",
    "_in_process.py",  # of pyproject_hooks, which runs build back ends
)
_HERE = os.path.dirname(os.path.abspath(__file__))
_INHERITED = _HERE.endswith(os.path.join("capriccio_patch", "sitecustomize", "hook"))


def _tool(orig_argv: list[str]) -> str:
    """The first part of the name of the module or script to be run, or "" if there is none.

    Follows how the interpreter reads its command line: single letters may stand together, -c and
    -m end the options, and -W, -X and --check-hash-based-pycs take a value.
    """
    args = iter(orig_argv[1:])
    for arg in args:
        if arg == "--check-hash-based-pycs":
            next(args, "")
        elif arg == "-" or arg[:1] != "-":
            return os.path.basename(arg).rstrip("0123456789.")  # pip3.12 is pip
        for place, letter in enumerate(arg[1:] if arg[:2] != "--" else "", start=2):
            if letter == "c":
                return ""
            if letter in "mWX":
                value = arg[place:] or next(args, "")
                if letter == "m":
                    return value.partition(".")[0]
                break
    return ""


def _patch() -> None:
    if os.environ.get("CAPRICCIO_PATCH") != "1":
        return
    tool = _tool(sys.orig_argv)
    if tool == "capriccio_patch":
        return  # which patches by itself, with the options on its command line
    if tool in _UNPATCHED_TOOLS:
        del os.environ["CAPRICCIO_PATCH"]  # their build and bootstrap processes are part of them
        return
    if sys.flags.ignore_environment:
        return
    capriccio_patch = _package()
    capriccio_patch.api.patched_by = "parent process" if _INHERITED else "start-up hook"
    capriccio_patch.patch_all()


def _package() -> "ModuleType":
    """The package: the interpreter's own, or else the one that this file lies in."""
    beside = os.path.dirname(os.path.dirname(os.path.dirname(_HERE)))
    sys.path += [beside] * _INHERITED
    try:
        return __import__("capriccio_patch")
    finally:
        if _INHERITED:
            del sys.path[-1]


try:
    _patch()
except (Exception, SystemExit) as error:
    if sys.stderr is not None:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"capriccio_patch: this process is not patched: {reason}", file=sys.stderr)

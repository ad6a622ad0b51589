"""python -m capriccio_patch: runs a program as plain `python` would, on green threads.

1. The program is `__main__`: a fresh module of that name takes the place of this one, with the
   attributes, `sys.argv` and `sys.path[0]` that the interpreter itself would have set.
2. Whatever ends the program propagates to the interpreter, which therefore decides on the exit
   status, on death by SIGINT, on `-i` and on joining threads; only the frames that are not the
   program's are taken off the traceback before `sys.excepthook` sees it.
3. `sys.orig_argv` stays what it is, so that a program which restarts itself by it is patched again.

What still differs from plain `python`: a few frames of this module and of runpy lie under the
program's (`sys._getframe`), and a script that cannot be decoded is reported as an import of it
would be. Must not be done here: import what `--help`, an error or the program's kind does not need.
"""

from __future__ import annotations

import builtins
import os
import runpy
import sys
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from importlib.util import MAGIC_NUMBER

import capriccio_patch

from . import api
from .cpython.frames import entry, hide, register, unseen
from .cpython.modules import entries_of_option_m, put_aside
from .errors import CapriccioError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, TracebackType
    from typing import Any, NoReturn

_USAGE = """\
usage: python -m capriccio_patch [options] FILE | -m MODULE | -c CODE | - [args]

Run a Python program, unmodified, with its threads on user-level threads.

program:
  FILE              a script, or a directory or zip file that contains __main__.py
  -m MODULE         a module or package, as python -m does
  -c CODE           a program given as text
  -                 a program read from standard input (also if it is a pipe and none is given)

options, before the program:
  --sockio NAME     I/O scheme for sockets and pipes
  --diskio NAME     I/O scheme for files
  --scheduler NAME  policy that picks the next runnable thread
  --seed N          what the scheduler "random" begins with: the same N, the same order
  --processors N    how many OS threads run green threads, or auto
  --graph FILE      draw where threads wait, at exit or SIGTERM: .svg, .html, .dot, .json
  --only A,B        apply only these patches
  --exclude A,B     do not apply these patches
  --no-children     leave interpreters that the program starts unpatched
  --status          print as JSON, on standard error, what was patched and how
  -h, --help        print this text and exit
  -V, --version     print the version and exit

Options of the interpreter itself (-X, -W, -u, -O, -i, ...) go before -m capriccio_patch.
The environment variables CAPRICCIO_* set the same and more; options override them.
"""
_NAME_OPTIONS = ("--sockio", "--diskio", "--scheduler", "--seed", "--processors", "--graph")
_LIST_OPTIONS = ("--only", "--exclude")


@register
def main(args: list[str]) -> None:
    """Patch this process, run the program that `args` name, and return or raise as it does."""
    settings, show_status, kind, target = _parse(args)
    if not os.environ.get("CAPRICCIO_CHILDREN"):
        settings.setdefault("children", True)
    del sys.path[: entries_of_option_m()]  # there for our own sake; the program gets its own
    api.patched_by = "python -m capriccio_patch"
    try:
        capriccio_patch.patch_all(**settings)
    except CapriccioError as error:
        _fail(str(error))
    if show_status:
        import json

        print(json.dumps(capriccio_patch.status(), indent=2, default=str), file=sys.stderr)
    sys.argv = args
    put_aside(_imported_for_us())
    try:
        _RUN[kind](target, _fresh_main())
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code not in (None, 0):
            api.program_failed()
        if sys.flags.inspect or not isinstance(error, SystemExit):
            _hide_own_frames()
        raise


def _parse(args: list[str]) -> tuple[dict[str, Any], bool, str, str]:
    """Split `args` into arguments of patch_all, --status, and the program's kind and target.

    The kind is "-m", "-c", "-" or "" (a file). What is left in `args` is the program's sys.argv.
    """
    settings: dict[str, Any] = {}
    show_status = False
    while args and args[0].startswith("-") and args[0] != "-":
        option, equals, value = args[0].partition("=")
        if option[:2] in ("-c", "-m"):
            kind = option[:2]
            target = args[0][2:] or _value(args)
            args[0] = kind
            return settings, show_status, kind, target
        if option in _NAME_OPTIONS + _LIST_OPTIONS:
            value = value if equals else _value(args)
            settings[option[2:]] = value.split(",") if option in _LIST_OPTIONS else value
        elif args[0] == "--status":
            show_status = True
        elif args[0] == "--no-children":
            settings["children"] = False
        elif args[0] in ("-h", "--help"):
            print(_USAGE, end="")
            raise SystemExit(0)
        elif args[0] in ("-V", "--version"):
            print(f"capriccio_patch {capriccio_patch.__version__}")
            raise SystemExit(0)
        else:
            _fail(
                f"unknown option {args[0]}; options of the interpreter go before "
                "-m capriccio_patch, --help lists the others"
            )
        del args[0]
    if not args:
        args.append("")
    kind = "-" if args[0] in ("", "-") else ""
    if kind and sys.stdin and sys.stdin.isatty():
        _fail("no program given; for a prompt: python -i -m capriccio_patch -c ''")
    return settings, show_status, kind, args[0]


def _value(args: list[str]) -> str:
    """Drop the option at the head of `args`, of which it needs the value that follows."""
    option = args.pop(0)
    if not args:
        _fail(f"option {option} needs a value")
    return args[0]


def _fail(message: str) -> NoReturn:
    print(f"capriccio_patch: error: {message}", file=sys.stderr)
    raise SystemExit(2)


_FRAMES_OF_OPTION_M = ["main", "<module>", "_run_code", "_run_module_as_main"]
"""What runs when the interpreter itself has run this module."""


def _imported_for_us() -> list[str]:
    """The modules that the interpreter has imported to run this one, and that this one has.

    None where something else runs this module, as a debugger does: they may be that one's.
    """
    frame = sys._getframe()
    outer = []
    while frame.f_back is not None:
        frame = frame.f_back
        outer.append(frame.f_code.co_name)
    if outer != _FRAMES_OF_OPTION_M:
        return []
    names = [*sys.modules]
    return names[names.index("runpy") :] if "runpy" in names else []


def _fresh_main() -> dict[str, Any]:
    """Put a new `__main__`, as the interpreter makes it, in this module's place; its namespace."""
    main = type(sys)("__main__")
    namespace = vars(main)
    namespace["__loader__"] = BuiltinImporter
    if "__annotations__" in globals():  # the interpreter presets it, up to Python 3.13
        namespace["__annotations__"] = {}
    namespace["__builtins__"] = builtins
    sys.modules["__main__"] = main
    return namespace


# What follows is pymain_run_python (CPython, Modules/main.c) and _PyRun_SimpleFile in Python.


@entry
def _run_module(name: str, namespace: dict[str, Any]) -> None:
    here = _current_directory()
    if here is not None:
        _set_path0(here)
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]


@entry
def _run_text(text: str, namespace: dict[str, Any]) -> None:
    _set_path0("")
    text = _without_margin(text) + "\n"
    code = compile(text, "<string>", "exec", dont_inherit=True)
    if sys.version_info >= (3, 13):  # whose tracebacks show its lines; those of older ones do not
        import linecache

        # By its code, which 3.13.0 to 3.13.2 do not know yet.
        key = code if hasattr(linecache, "_interactive_cache") else "<string>"
        linecache._register_code(key, text, "<string>")  # type: ignore[attr-defined]
    exec(code, namespace)


def _without_margin(text: str) -> str:
    """`text` as ``-c`` reads it: from CPython 3.14 lines may be indented together."""
    if sys.version_info >= (3, 14) and text.lstrip("\n")[:1].isspace():
        import textwrap

        text = textwrap.dedent(text)
    return text


@entry
def _run_stdin(_: str, namespace: dict[str, Any]) -> None:
    _set_path0("")
    source = sys.stdin.buffer.read() if sys.stdin else b""
    namespace["__file__"] = "<stdin>"
    _set_no_cache(namespace)
    exec(compile(source, "<stdin>", "exec", dont_inherit=True), namespace)


@entry
def _run_file(path: str, namespace: dict[str, Any]) -> None:
    path = os.path.join(_current_directory() or "", path)
    if _is_container(path):
        sys.path.insert(0, path)
        runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]
        return
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        reason = f"[Errno {error.errno}] {error.strerror}"
        print(f"{sys.orig_argv[0]}: can't open file {path!r}: {reason}", file=sys.stderr)
        raise SystemExit(2) from None
    _set_path0(os.path.dirname(os.path.realpath(path)))
    is_bytecode = path.endswith(".pyc") or source.startswith(MAGIC_NUMBER)
    loader = SourcelessFileLoader if is_bytecode else SourceFileLoader
    namespace.update(__loader__=loader("__main__", path), __file__=path)
    _set_no_cache(namespace)
    exec(
        _bytecode(source) if is_bytecode else compile(source, path, "exec", dont_inherit=True),
        namespace,
    )


def _set_no_cache(namespace: dict[str, Any]) -> None:
    if "__cached__" in globals():  # the interpreter sets it, up to Python 3.14
        namespace["__cached__"] = None


def _current_directory() -> str | None:
    """None if it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _set_path0(entry: str) -> None:
    if not sys.flags.safe_path:
        sys.path.insert(0, entry)


def _is_container(path: str) -> bool:
    """Whether sys.path can hold `path`, as it can a directory or a zip file."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _bytecode(data: bytes) -> CodeType:
    """The code in a .pyc file, after its header of 16 bytes (PEP 552)."""
    import marshal

    if not data.startswith(MAGIC_NUMBER):
        raise RuntimeError("Bad magic number in .pyc file")
    code: CodeType = marshal.loads(data[16:])
    return code


def _hide_own_frames() -> None:
    """Let the next call of sys.excepthook, and it alone, see the program's frames only.

    The interpreter calls it with what it caught when the exception that is on its way has left
    this module, and keeps its own view of the exception (-i, SIGINT) whatever the hook sees.
    """
    hook = sys.excepthook

    def excepthook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        sys.excepthook = hook
        sys.last_traceback = traceback = _program_s(error, traceback)
        try:
            hook(kind, error, traceback)
        except BaseException as raised:
            _program_s(raised, raised.__traceback__)
            raise

    excepthook.__code__ = unseen(excepthook.__code__)  # what the hook raises is printed
    sys.excepthook = excepthook


def _program_s(error: BaseException, traceback: TracebackType | None) -> TracebackType | None:
    """The traceback of `error` from where it leaves the program."""
    while traceback is not None:
        outer, traceback = traceback, traceback.tb_next
        if outer.tb_frame.f_globals is globals():
            error.__traceback__ = traceback  # without ours and those of runpy before it
    if not sys.flags.dev_mode:
        hide(error)
    return error.__traceback__


# Without annotations, of which the interpreter would keep a dictionary here from Python 3.14 on.
_RUN = {
    "-m": _run_module,
    "-c": _run_text,
    "-": _run_stdin,
    "": _run_file,
}

if __name__ == "__main__":
    main(sys.argv[1:])

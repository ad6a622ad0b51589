"""What CPython keeps for each OS thread, at C level: its dictionary, its locals, who traces it.

Where a field of PyThreadState lies is found by its content, not known beforehand; a field that is
not found is a SystemError.  The rest asks the interpreter's C functions.
"""

from __future__ import annotations

import _thread
import ctypes
import gc
import sys
import types
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import partial
from types import FrameType

from . import originals
from .interpose import clone, release, retain
from .standstill import IS_FREE_THREADED, read_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    _T = TypeVar("_T")

__all__ = [
    "Within",
    "ask_later",
    "exchange_tracing",
    "exchange_words",
    "frame_reader",
    "is_only_interpreter",
    "is_set",
    "lazy_imports",
    "local_words",
    "state_dict",
    "trace_words",
    "tracing_depth",
    "trip_later",
]


_api = ctypes.pythonapi
_get_state_dict = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThreadState_GetDict", _api))
_get_thread_state = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThreadState_Get", _api))
_get_frame = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(("PyThreadState_GetFrame", _api))
_last_interpreter = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyInterpreterState_Head", _api))
_main_interpreter = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyInterpreterState_Main", _api))
_enter_tracing = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyThreadState_EnterTracing", _api))
_leave_tracing = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyThreadState_LeaveTracing", _api))
_add_pending_call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(
    ("Py_AddPendingCall", _api)
)
_set_interrupt = ctypes.cast(_api.PyErr_SetInterruptEx, ctypes.c_void_p).value
_is_true = ctypes.cast(_api.PyObject_IsTrue, ctypes.c_void_p).value

_LOCAL = "threading.local"
_IMPORTS = "lazy imports"
_NOWHERE = "capriccio_patch_lazy"
_WHOLE = 4096
"""Bytes of a PyThreadState with what lies behind its public part, at most."""
_TRACE = "trace"
_DEPTH = "tracing"
_CONTEXT = "context"
_offsets: dict[str, int] = {}
"""Where in a PyThreadState something was found."""


def state_dict() -> dict[str, Any]:
    """The calling OS thread's dictionary of C-level thread-local state (PyThreadState_GetDict)."""
    found: Any = ctypes.cast(_get_state_dict(), ctypes.py_object).value
    return found  # type: ignore[no-any-return]


def _thread_state() -> int:
    state: int = _get_thread_state()
    return state


def _state_words(offset: int, count: int) -> memoryview[int]:
    words = (ctypes.c_size_t * count).from_address(_thread_state() + offset)
    return memoryview(words).cast("B").cast("P")


def _find_in_state(wanted: list[int], size: int = 1024) -> int:
    """The offset of consecutive words in the first `size` bytes of the calling OS thread's
    PyThreadState."""
    state = _thread_state()
    words = ctypes.c_size_t * len(wanted)
    for offset in range(0, size, ctypes.sizeof(ctypes.c_size_t)):
        if [*words.from_address(state + offset)] == wanted:
            return offset
    raise SystemError("a field of the thread's state was not found")


def local_words() -> memoryview[int] | None:
    """The two words by which ``threading.local`` knows the calling OS thread, as a writable array.

    From CPython 3.13 its PyThreadState holds two objects: the key under which a local has this
    thread's values, and a sentinel whose end removes them (Modules/_threadmodule.c).  Each word
    owns its reference; both are 0 until the thread uses a local.  None where values are kept in
    `state_dict`.
    """
    if _LOCAL not in _offsets:
        scratch = _thread._local()
        scratch.used = True
        held = gc.get_referents(scratch)
        keys = [key for each in held if type(each) is dict for key in each]
        sentinels = [ref() for each in held if type(each) is set for ref in each]
        if len(keys) != 1 or len(sentinels) != 1 or type(keys[0]) is not type(sentinels[0]):
            return None
        _offsets[_LOCAL] = _find_in_state([id(keys[0]), id(sentinels[0])])
    return _state_words(_offsets[_LOCAL], 2)


def lazy_imports() -> set[Any] | None:
    """The set in which C code keeps the lazy imports that the calling OS thread has begun.

    From CPython 3.15, to tell a circle (Python/import.c).  C makes it with the thread's first lazy
    import, if there is none, puts it into its PyThreadState, and keeps it for good; where is found
    on an OS thread that is new, whose set is.  None where there are no lazy imports.
    """
    if not hasattr(types, "LazyImportType"):
        return None
    if _IMPORTS not in _offsets:
        done = originals.allocate_lock()
        done.acquire()
        errors: list[BaseException] = []
        originals.start_new_thread(_find_imports, (done, errors))
        done.acquire()
        if errors:
            raise errors[0]
    words = _state_words(_offsets[_IMPORTS], 1)
    if not words[0]:
        # As C would.  An import of our own would wait for the import lock, which the thread that
        # this OS thread works for may hold.
        made: set[Any] = set()
        retain(id(made))
        words[0] = id(made)
    found: Any = ctypes.cast(words[0], ctypes.py_object).value
    return found  # type: ignore[no-any-return]


def _find_imports(done: Any, errors: list[BaseException]) -> None:
    """On an OS thread that is new: note where its set of lazy imports is."""

    def find(lazy: list[Any]) -> None:
        # It is among the youngest objects, unless a collection has just been.
        young = (each for each in gc.get_objects(generation=0) if type(each) is set)
        sets = [each for each in young if lazy[0] in each]
        if not sets:
            sets = [each for each in gc.get_referrers(lazy[0]) if type(each) is set]
        found = {_find_in_state([id(each)], _WHOLE) for each in sets}
        if len(found) != 1:
            raise SystemError("the lazy imports of a thread were not found")
        _offsets[_IMPORTS] = found.pop()

    try:
        _import_lazily(find)
    except BaseException as error:
        errors.append(error)
    finally:
        done.release()


def _import_lazily(during: Callable[[list[Any]], None]) -> None:
    """Begin a lazy import, which fails, and call `during` with it, in a list: by a name of its own
    it would be imported."""
    names: dict[str, Any] = {}

    class Finder:
        @staticmethod
        def find_spec(name: str, *_: Any) -> None:
            if name == _NOWHERE:
                during(lazy)
                raise _NotFoundError

    exec(f"lazy import {_NOWHERE}", names)
    lazy = [names[_NOWHERE]]
    sys.meta_path.insert(0, Finder)
    try:
        exec(_NOWHERE, names)
    except _NotFoundError:
        pass
    except ImportError as error:
        if not isinstance(error.__cause__, _NotFoundError):
            raise error.__cause__ or error from None
    finally:
        sys.meta_path.remove(Finder)
        sys.lazy_modules.discard(_NOWHERE)  # type: ignore[attr-defined]


class _NotFoundError(ImportError):
    """There is no such module."""


def trace_words() -> memoryview[int]:
    """The calling OS thread's profile and trace functions, as a writable array.

    Four fields of its PyThreadState: the C functions (profile, trace), then the objects that they
    are called with, which the words own.
    """
    if _TRACE not in _offsets:
        get, put = clone(sys.getprofile), clone(sys.setprofile)
        found = get()
        if found is None:
            put(found := lambda *_: None)
            offset = _find_in_state([id(found)])
            put(None)
        else:
            offset = _find_in_state([id(found)])
        _offsets[_TRACE] = offset - 2 * ctypes.sizeof(ctypes.c_size_t)
    return _state_words(_offsets[_TRACE], 4)


def _context_words() -> memoryview[int]:
    """The context that the calling OS thread is in, which the word owns, and how often that has
    changed, by which variables know whether what they remember is still true."""
    if _CONTEXT not in _offsets:
        scratch = Context()
        offset = scratch.run(_find_in_state, [id(scratch)])
        words = _state_words(offset, 2)
        before = words[1]
        scratch.run(int)
        if words[1] != before + 2:
            raise SystemError("the version of the thread's context was not found")
        _offsets[_CONTEXT] = offset
    return _state_words(_offsets[_CONTEXT], 2)


class Within:
    """Within it, the calling OS thread is in a context, even if other threads are in it as well."""

    __slots__ = ("_context", "_outer", "_words")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._words = words = _context_words()
        retain(id(self._context))
        self._outer, _ = exchange_words(words, (id(self._context), words[1] + 1))

    def __exit__(self, *_: object) -> None:
        words = self._words
        inner, _version = exchange_words(words, (self._outer, words[1] + 1))
        if inner:
            release(inner)


def frame_reader() -> Callable[[Callable[[FrameType], _T]], _T | None]:
    """What calls a function with the calling OS thread's innermost frame, and returns what that
    returns, on any OS thread, while this one lives.

    The function only reads; it may keep the frame where there is a GIL or the frame is its own.
    Without a GIL the frames below it may end at any time once the function has returned.  None if
    there is no frame, or it can't be read now.

    ``sys._current_frames`` makes a frame object for each OS thread of every interpreter; those of
    an interpreter that has a GIL of its own then free memory that is not theirs, and crash.
    """
    state = _thread_state()
    home = originals.get_ident()

    def read(function: Callable[[FrameType], _T]) -> _T | None:
        address = _get_frame(state)
        if not address:
            return None
        try:
            # Kept in no local variable: it may be this very frame.
            return function(ctypes.cast(address, ctypes.py_object).value)
        finally:
            release(address)

    def read_other(function: Callable[[FrameType], _T]) -> _T | None:
        if originals.get_ident() == home:
            return read(function)
        return read_others(partial(read, function))

    return read_other if IS_FREE_THREADED else read


def is_only_interpreter() -> bool:
    """Whether the process has no other interpreter now."""
    made_last: int = _last_interpreter()
    main: int = _main_interpreter()
    return made_last == main


def exchange_words(words: memoryview[int], new: Sequence[int]) -> list[int]:
    """Put `new` into `words`, which are those of `local_words` or `trace_words`; what was there.

    The references that words own change hands with them.  One instruction reads all words; those
    that write them follow, and none of them makes a call or jumps back, so no finalizer and no
    signal handler runs in between.  Nobody sees a function without the object that it is to be
    called with.  (There are two words or four: a slice of a buffer takes four times as long.)
    """
    if len(new) == 2:
        [*old], (words[0], words[1]) = words, new
    else:
        [*old], (words[0], words[1], words[2], words[3]) = words, new
    return old


def exchange_tracing(words: memoryview[int], new: Sequence[int]) -> list[int]:
    """As `exchange_words`, for `trace_words`, while no trace function is called on the OS thread.

    In the end the interpreter looks again whether the thread is traced or profiled: in CPython 3.11
    that is noted once more on each C stack.
    """
    state = _thread_state()
    _enter_tracing(state)
    try:
        return exchange_words(words, new)
    finally:
        _leave_tracing(state)


def tracing_depth() -> ctypes.c_int:
    """Its ``value``: how many trace or profile functions the calling OS thread is in right now.

    PyThreadState_EnterTracing counts it up, which is how it is found.
    """
    state = _thread_state()
    if _DEPTH not in _offsets:
        trace_words()
        # It lies before them; behind them are counters that change by one as well.
        count = _offsets[_TRACE] // ctypes.sizeof(ctypes.c_int)
        fields = (ctypes.c_int * count).from_address(state)
        before = [*fields]
        _enter_tracing(state)
        within = [*fields]
        _leave_tracing(state)
        found = [i for i in range(count) if [before[i] + 1, before[i]] == [within[i], fields[i]]]
        if len(found) != 1:
            raise SystemError("the depth of tracing was not found")
        _offsets[_DEPTH] = found[0] * ctypes.sizeof(ctypes.c_int)
    return ctypes.c_int.from_address(state + _offsets[_DEPTH])


def is_set(words: memoryview[int], index: int = 0) -> Any:
    """An object that is true, at the cost of a truth test, while a word is not 0."""
    assert isinstance(words.obj, ctypes.Array)
    address = ctypes.addressof(words.obj) + index * ctypes.sizeof(ctypes.c_void_p)
    return ctypes.c_void_p.from_address(address)


def trip_later(signum: int) -> None:
    """Have the evaluation loop trip `signum`: its handler is called between two later bytecodes.

    The interpreter calls PyErr_SetInterruptEx itself, without a Python frame.  Nothing happens if
    too many such calls are pending already.
    """
    _add_pending_call(_set_interrupt, signum)


def ask_later(value: Any) -> None:
    """Have the evaluation loop of the main OS thread ask ``bool(value)``, which is to be False.

    What ``__bool__`` raises is raised there.  Any OS thread; the caller keeps `value` alive.
    Nothing happens if too many such calls are pending already.
    """
    _add_pending_call(_is_true, id(value))

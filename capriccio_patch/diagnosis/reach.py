"""Who can reach a thing: what refers to it, back to the code that may still use that.

The collector knows which object refers to which.  From a thing backwards, through all that refers
to it, a search ends at what acts: code.  A module's namespace is the way to its globals only for
code that names them; a variable of a function that is being called only for what that function
has yet to do (`cpython.ahead`).  So two threads whose queues are globals of a script can be told to
be lost, although those globals will be there for good.

Everything else counts as reached, and so in doubt the thing is:

1. What is held by something that the collector does not know (C code; a stack, but for what the
   stacks of waiting threads and the variables of others account for).
2. Globals of modules that are not the program's own: of the standard library, of libraries and of
   extension modules; and all globals where own code looks names up by their text, where a library
   or a prompt is on a stack, or where a module of the program is yet to be imported.
3. What more than `MOST` objects lead to, and what takes longer than `LONGEST` to find out, as it
   does among millions of objects: no thread of the program runs meanwhile.

An object that C code alone holds, beside the stacks of waiting threads, is not seen to be held.
The search takes some 10 ms for each 100,000 objects that the collector knows.  Any OS thread that
has the GIL: the answer holds if no green thread has run meanwhile.
"""

from __future__ import annotations

import _weakref
import gc
import sys
from collections.abc import Iterable
from types import (
    AsyncGeneratorType,
    BuiltinMethodType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)

from ..contracts.thread import Finalizer, Thread
from ..cpython import frames, originals
from ..cpython.ahead import BY_TEXT, imported_in, names_in
from ..cpython.collector import of_kinds, referents
from ..cpython.expressions import content_of
from ..cpython.modules import imported
from .stacks import is_foreign, is_library, stack_of_frames, variables_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["STARTED_WITH", "Closure", "Reached"]

MOST = 3000
LONGEST = 0.3
"""Seconds of CPU."""
_BATCH = 32
_FROZEN = 2000
"""Objects that the collector has been told to forget; CPython 3.12 begins with some hundred."""
STARTED_WITH = ("_target", "_args", "_kwargs")
"""What a `threading.Thread` has for its own start."""
_CODE = (FunctionType, GeneratorType, CoroutineType, AsyncGeneratorType)
_WAITING = frozenset({"__enter__", "__exit__", "acquire", "get", "wait"})
_BY_COMPUTED = frozenset({"getattr"})


class Reached(Exception):
    """Something that may act can reach a thing, or it is not known that nothing can."""


class Closure:
    """All through which some things can be reached, and what is known of it."""

    __slots__ = (
        "_codes",
        "_cut",
        "_doubtful",
        "_frames",
        "_functions",
        "_held",
        "_known",
        "_names",
        "_records",
        "_stacks",
        "_threads",
        "_todo",
        "_until",
        "found",
        "wanted",
        "words",
    )

    def __init__(
        self,
        suspects: Iterable[tuple[Thread, FrameType | None]],
        stacks: dict[int, FrameType | None],
    ) -> None:
        """`suspects` are threads that wait, with their innermost frames: what their stacks hold
        does not count as held by something unknown.  `stacks` are the innermost frames of all
        threads, by the id of the greenlet."""
        self._until = originals.thread_time() + LONGEST
        self._stacks = stacks
        self._cut = {id(stacks)}
        self.found: dict[int, Any] = {}
        self.wanted: dict[int, set[str]] = {}
        """By the id of a namespace: the names that lead to the things."""
        self.words: dict[int, set[str]] = {}
        """By the id of a namespace: what code calls its module."""
        self._known: dict[int, Any] = {}
        """The namespaces."""
        self._names: dict[int, frozenset[str]] = {}
        self._functions: list[Any] | None = None
        self._doubtful: dict[int, Any] = {}
        self._todo: list[Any] = []
        self._held: set[int] = set()
        self._codes: set[int] = set()
        self._frames: set[int] = set()
        self._records: set[int] = set()
        self._threads: set[int] = set()
        threading = imported("threading")
        active = {} if threading is None else threading._active
        self._cut |= {id(active), id(sys.modules), id(self)}
        for held in (self.found, self._doubtful, self._todo, self._known):
            self._cut.add(id(held))
        for thread, frame in suspects:
            self._records.add(id(thread))
            self._cut.add(id(thread.greenlet))
            known = active.get(thread.ident)
            if known is not None:
                self._threads |= {id(known), id(vars(known))}
                self._cut.update(id(vars(known).get(name)) for name in STARTED_WITH[1:])
            for each in stack_of_frames(frame):
                self._frames.add(id(each))
                self._codes.add(id(each.f_code))
                self.account_for(each)

    def account_for(self, frame: FrameType) -> None:
        """What the variables of a suspect's frame hold is not held by something unknown."""
        variables = variables_of(frame)
        if variables is not None:
            self._held.update(map(id, variables.values()))
            if type(variables) is dict:  # until CPython 3.12, and the frame keeps it
                self.cut(variables)

    def forget(self) -> None:
        """Keep nothing of the program's."""
        for held in (self.found, self._doubtful, self._known, self.wanted, self.words):
            held.clear()
        self._todo.clear()
        self._functions = None

    def cut(self, each: Any) -> None:
        """`each` leads nowhere."""
        self._cut.add(id(each))

    def explain(self, found: Any) -> None:
        """`found` is a variable of a stack that is looked at."""
        self._doubtful.pop(id(found), None)
        self._held.add(id(found))

    def grow(self, things: Iterable[Any]) -> None:
        """Find what leads to `things`, too; raises `Reached`."""
        if gc.get_freeze_count() > _FROZEN:
            raise Reached
        things = list(things)
        self.cut(things)
        self._held.update(map(id, things))
        for thing in things:
            self._add(thing)
        while self._todo:
            if originals.thread_time() > self._until:
                raise Reached
            self._step(tuple(self._todo[:_BATCH]))

    def check(self, codes: Iterable[CodeType]) -> None:
        """Raises `Reached` if something is held by something unknown, or if what code may look up
        may be the things; `codes` are those that stacks are in."""
        self._codes.update(map(id, codes))
        self._check_threads(codes)
        if not all(map(self._is_explained, self._doubtful.values())):
            raise Reached
        if self.wanted and (hasattr(sys, "ps1") or sys.flags.interactive):
            raise Reached

    def _add(self, each: Any) -> None:
        key = id(each)
        if key not in self.found and key not in self._cut:
            if len(self.found) > MOST:
                raise Reached
            self.found[key] = each
            self._todo.append(each)

    def _step(self, batch: tuple[Any, ...]) -> None:
        del self._todo[: len(batch)]
        probe: list[Any] = [[]]
        (own,) = [sys.getrefcount(each) for each in probe]
        counts = {id(each): sys.getrefcount(each) - own for each in batch}
        for each in batch:
            # Of threads `threading` has a set, and of classes each class their subclasses.
            if not isinstance(each, type) and id(each) not in self._threads:
                for reference in _weakref.getweakrefs(each):
                    self._add(reference)
        each = None
        found = gc.get_referrers(*batch)
        for other in found:
            if other is batch:
                continue
            held = referents(other)
            of_these = []
            for key in counts.keys() & set(map(id, held)):
                counts[key] -= sum(id(each) == key for each in held)
                of_these.append(key)
            if id(other) not in self._cut and id(other) not in self.found:
                self._follow(other, of_these)
        for each in batch:
            if counts[id(each)] > 0 and not self._is_explained(each):
                self._doubtful[id(each)] = each

    def _follow(self, other: Any, keys: list[int]) -> None:
        """`other` refers to what has these ids."""
        kind = type(other)
        if kind is Thread or kind is Finalizer:
            is_awaited = all(key == id(other.object) for key in keys)
            if id(other) in self._records or is_awaited:
                return
            raise Reached
        if kind.__module__.startswith(f"{frames.PACKAGE}.diagnosis."):
            return
        if id(other) in self._stacks and self._are_of(self._stacks[id(other)], keys):
            return  # what that stack may still use is asked of its frames
        if kind is dict:
            if id(other) in self._threads and _names_of(other, keys) <= {*STARTED_WITH}:
                return
            if "__name__" in other or "__builtins__" in other:
                self._name(other, keys)
                return
        elif id(other) in self._threads:
            if _names_of(vars(other), keys) <= {*STARTED_WITH} and id(vars(other)) not in keys:
                return
        elif isinstance(other, ModuleType):
            raise Reached  # what its C code keeps
        self._add(other)

    def _are_of(self, frame: FrameType | None, keys: list[int]) -> bool:
        """Whether what has these ids is what the frames of a stack run, or their namespaces: from
        CPython 3.14 on a greenlet shows them."""
        stack = stack_of_frames(frame)
        codes = {id(each.f_code) for each in stack}
        namespaces = {id(each.f_globals) for each in stack}
        functions = [self.found[key] for key in keys if key not in namespaces]
        return all(type(each) is FunctionType and id(each.__code__) in codes for each in functions)

    # -- names -------------------------------------------------------------------------------

    def _name(self, namespace: Any, keys: list[int]) -> None:
        """What has these ids are globals: who names them?"""
        module = sys.modules.get(str(namespace.get("__name__")))
        if getattr(module, "__dict__", None) is not namespace or not _is_own(namespace):
            raise Reached
        names = self.wanted.setdefault(id(namespace), set())
        new = _names_of(namespace, keys) - names
        names |= new
        if id(namespace) not in self.words:
            self._known[id(namespace)] = namespace
            self.words[id(namespace)] = self._words_for(module)
        code_of_all = self._all_code()
        own = [each for each in code_of_all if not is_library(_code_of(each).co_filename)]
        if not all(BY_TEXT.isdisjoint(self.names(_code_of(each))) for each in own):
            raise Reached
        if module is not sys.modules.get("__main__"):
            ends = {name.rpartition(".")[2] for name in list(sys.modules)}
            if not ends.issuperset(imported_in(map(_code_of, own))):
                raise Reached
        for each in code_of_all:
            code = _code_of(each)
            if self._uses(self.names(code), _globals_of(each), id(namespace), new):
                if is_library(code.co_filename):
                    raise Reached
                self._add(each)

    def uses(self, names: frozenset[str], namespace: Any) -> bool:
        """Whether code that has those names, and that namespace, may use a global that leads to
        the things."""
        return any(self._uses(names, namespace, key, new) for key, new in self.wanted.items())

    def _uses(self, names: frozenset[str], mine: Any, key: int, wanted: set[str]) -> bool:
        if id(mine) == key:
            return not wanted.isdisjoint(names)
        if self.words[key].isdisjoint(names):
            return False
        return not wanted.isdisjoint(names) or not _BY_COMPUTED.isdisjoint(names)

    def names(self, code: CodeType) -> frozenset[str]:
        """What code names, that within it included."""
        found = self._names.get(id(code))
        if found is None:
            found = self._names[id(code)] = frozenset(names_in(code))
        return found

    def _words_for(self, module: Any) -> set[str]:
        """By what names other code knows a module."""
        words = {module.__name__.rpartition(".")[2]}
        for other in gc.get_referrers(module):
            if other is sys.modules or isinstance(other, FrameType):
                continue
            if type(other) is not dict or "__name__" not in other or not _is_own(other):
                raise Reached
            words |= _names_of(other, [id(module)])
        return words

    def _all_code(self) -> list[Any]:
        """Functions and what they have made that waits, but those of the standard library."""
        if self._functions is None:
            objects = of_kinds(gc.get_objects, _CODE)
            self._functions = [
                each for each in objects if not is_foreign(_code_of(each).co_filename)
            ]
            self.cut(objects)
            self.cut(self._functions)
        return self._functions

    def _check_threads(self, codes: Iterable[CodeType]) -> None:
        """Raises `Reached` if the things are attributes of threads, and code asks which there are;
        `codes` are those that run."""
        if self._threads.isdisjoint(self.found):
            return
        every = getattr(imported("threading"), "enumerate", None)
        for each in self._all_code():
            namespace: Any = _globals_of(each)
            if namespace is not None and namespace.get("enumerate") is every:
                raise Reached
        for code in [*codes, *map(_code_of, self._all_code())]:
            if {"enumerate", "threading"} <= self.names(code):
                raise Reached

    def has_finalizers(self) -> bool:
        """Whether what leads to the things has some that run code of the program when it ends."""
        return any(hasattr(type(each), "__del__") for each in self.found.values())

    # -- what the collector does not know ----------------------------------------------------

    def _is_explained(self, found: Any) -> bool:
        """Whether stacks account for `found`: a variable, a thing that is waited for, or what a
        frame holds of its own."""
        if id(found) in self._held:
            return True
        kind = type(found)
        if kind is FunctionType:
            return id(found.__code__) in self._codes
        if kind is CellType:
            return id(content_of(found)) in self._held
        if kind is MethodType:
            code = getattr(found.__func__, "__code__", None)
            is_called = id(code) in self._codes or found.__name__ in _WAITING
            return is_called and id(found.__self__) in self._held
        if kind is BuiltinMethodType:
            return found.__name__ in _WAITING and id(found.__self__) in self._held
        if kind is GeneratorType:
            return id(found.gi_frame) in self._frames
        return False


def _names_of(namespace: Any, keys: list[int]) -> set[str]:
    return {str(name) for name, value in list(namespace.items()) if id(value) in keys}


def _is_own(namespace: Any) -> bool:
    """Whether a module's namespace is the program's, and what uses it can be read."""
    file = namespace.get("__file__")
    if file is None:
        return bool(namespace.get("__name__") == "__main__")
    if type(file) is not str or not file.endswith(".py"):
        return False
    return not is_foreign(file) and not is_library(file)


def _code_of(each: Any) -> Any:
    for name in ("__code__", "gi_code", "cr_code", "ag_code"):
        code = getattr(each, name, None)
        if code is not None:
            return code
    raise Reached


def _globals_of(each: Any) -> Any:
    if type(each) is FunctionType:
        return each.__globals__
    for name in ("gi_frame", "cr_frame", "ag_frame"):
        frame = getattr(each, name, None)
        if frame is not None:
            return frame.f_globals
    return None

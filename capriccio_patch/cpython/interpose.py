"""Taking over an object in place, so that references taken earlier are served too.

The original Capriccio redirects libc calls with the linker's ``--wrap``; here the object itself is
redirected, whoever holds a reference to it.  Everything that relies on the layout of CPython's
objects lives in this module, and what relies on that of its threads in `thread_state`.

1. A C builtin (``time.sleep``) gets another ``PyMethodDef``, whose function is
   ``PyObject_Vectorcall`` itself: its signature is that of a ``METH_FASTCALL | METH_KEYWORDS``
   method, with the callable where a method has its ``self``.  That ``self`` is a callable module,
   because ``repr``, ``__qualname__`` and pickling treat a builtin whose ``self`` is a module as a
   plain function.
2. An attribute of an immutable C type is set with the type's immutability lifted for that moment.
   Only that one bit is put back: the other flags hold the type cache's state and change meanwhile.
3. What is redirected owns a reference to its ``self`` and to its method definition.  The garbage
   collector counts the former, so it is a real reference; the latter is never freed.
4. `checks` tries all of it on scratch objects.  Where that fails nothing is redirected.

Must not be done here: decide what is taken over, import what may be taken over.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from types import BuiltinFunctionType, ModuleType

from .standstill import standstill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "MethodRedirect",
    "Redirect",
    "clone",
    "del_attribute",
    "leak",
    "poll_registrations",
    "release",
    "retain",
    "set_attribute",
    "set_semlock_owner",
    "swap_thread_handles",
    "word_finder",
]

_METH_KEYWORDS = 0x0002
_METH_FASTCALL = 0x0080
_TPFLAGS_IMMUTABLETYPE = 1 << 8


class _MethodDef(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("meth", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


class _Builtin(ctypes.Structure):
    """PyCFunctionObject (Include/cpython/methodobject.h), after its object header."""

    _fields_ = [
        ("ml", ctypes.c_void_p),
        ("self", ctypes.c_void_p),
        ("module", ctypes.c_void_p),
        ("weakrefs", ctypes.c_void_p),
        ("vectorcall", ctypes.c_void_p),
    ]


_HEADER = object.__basicsize__
_FLAGS_OFFSET = None

_api = ctypes.pythonapi
# Made from prototypes: what is set on the functions of `pythonapi` itself, the program sees.
_new_builtin = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)(("PyCFunction_NewEx", _api))
_type_modified = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("PyType_Modified", _api))
_vectorcall_address = ctypes.cast(_api.PyObject_Vectorcall, ctypes.c_void_p).value


def _fields(builtin: Any) -> _Builtin:
    return _Builtin.from_address(id(builtin) + _HEADER)


# A builtin whose flags are METH_FASTCALL | METH_KEYWORDS in every supported version.
_fastcall_address = _fields(print).vectorcall

_definitions: dict[int, _MethodDef] = {}
"""By the address of the original: call sites point at them for the life of the process."""
_direct: dict[tuple[int, int], _MethodDef] = {}
"""By the addresses of the original and of the function of C that it calls: the same."""
_copies: dict[int, _MethodDef] = {}
"""By the address of the original and of the copy itself: what clones point at."""


def clone(builtin: Any) -> Any:
    """A second builtin that calls the C function which `builtin` calls now.

    It keeps doing so when `builtin` is redirected later, and when somebody writes another function
    into its method definition, as tests do that freeze the clock.  Anything but a builtin is
    returned as is.
    """
    if not isinstance(builtin, BuiltinFunctionType):
        return builtin
    fields = _fields(builtin)
    method = _MethodDef.from_address(fields.ml)
    if method.flags & 0x0200:  # METH_METHOD: a builtin with a defining class, which we can't pass
        return builtin
    return _new_builtin(ctypes.addressof(_copied(fields.ml)), fields.self, fields.module)


def _copied(ml: int) -> _MethodDef:
    """A copy of the method definition at `ml`, which nobody else knows."""
    now = _MethodDef.from_address(ml)
    copy = _copies.get(ml)
    if copy is None or (copy.meth, copy.flags) != (now.meth, now.flags):
        # Both strings are C's own: read as Python's they would not live as long.
        copy = _MethodDef()
        ctypes.memmove(ctypes.addressof(copy), ml, ctypes.sizeof(_MethodDef))
        _copies[ml] = _copies[ctypes.addressof(copy)] = copy
    return copy


def _definition(builtin: Any) -> _MethodDef:
    """The method definition of `builtin`, but calling its ``self``."""
    ml = _fields(builtin).ml
    definition = _definitions.get(ml)
    if definition is None:
        old = _MethodDef.from_address(ml)
        doc = old.doc
        signature = builtin.__text_signature__
        if signature is not None:  # it may come from the old flags, which are about to change
            doc = f"{builtin.__name__}{signature}\n--\n\n{builtin.__doc__ or ''}".encode()
        definition = _definitions[ml] = _MethodDef(
            old.name, _vectorcall_address, _METH_FASTCALL | _METH_KEYWORDS, doc
        )
    return definition


def _write(fields: _Builtin, ml: int | None, self: int | None, vectorcall: int | None) -> None:
    """Have a builtin call another function; no OS thread sees it with a part of both."""
    with standstill:
        fields.self = self
        fields.vectorcall = vectorcall
        fields.ml = ml


_CallableModule: Any = type("module", (ModuleType,), {"__slots__": ("__call__",)})
"""What a redirected builtin has as its ``self``: calling it calls what is in its slot."""


class Redirect:
    """A C function that calls a Python callable instead, until `undo`."""

    __slots__ = ("_module", "_saved", "builtin")

    def __init__(self, builtin: Any, replacement: Callable[..., Any]) -> None:
        fields = _fields(builtin)
        definition = _definition(builtin)
        if isinstance(replacement, BuiltinFunctionType):
            self._call_directly(builtin, replacement, definition)
            return
        self._module = _CallableModule(builtin.__module__ or "builtins")
        self._module.__call__ = replacement
        self.builtin = builtin
        self._saved = (fields.ml, fields.self, fields.vectorcall)
        retain(id(self._module))
        _write(fields, ctypes.addressof(definition), id(self._module), _fastcall_address)

    def _call_directly(self, builtin: Any, replacement: Any, definition: _MethodDef) -> None:
        """Have `builtin` call the C function of another one, which does not use its ``self``."""
        fields, theirs = _fields(builtin), _fields(replacement)
        method = _MethodDef.from_address(theirs.ml)
        direct = _direct.get((fields.ml, theirs.ml))
        if direct is None:
            direct = _MethodDef(definition.name, method.meth, method.flags, definition.doc)
            _direct[fields.ml, theirs.ml] = direct
        self._module = None
        self.builtin = builtin
        self._saved = (fields.ml, fields.self, fields.vectorcall)
        _write(fields, ctypes.addressof(direct), fields.self, theirs.vectorcall)

    def undo(self) -> None:
        """Make the builtin what it was."""
        _write(_fields(self.builtin), *self._saved)
        if self._module is not None:
            release(id(self._module))


class MethodRedirect:
    """A stored bound method of a C type that calls a Python callable instead, until `undo`.

    `replacement` is bound to the same object, so it keeps that alive in the C method's stead.  The
    method itself is not kept alive.
    """

    __slots__ = ("_method", "_ml", "_vectorcall")

    def __init__(self, method: Any, replacement: Any) -> None:
        fields = _fields(method)
        definition = _definition(method)
        self._method = weakref.ref(method)
        self._ml = fields.ml
        self._vectorcall = fields.vectorcall
        owner = fields.self
        retain(id(replacement))
        _write(fields, ctypes.addressof(definition), id(replacement), _fastcall_address)
        release(owner)

    def undo(self) -> None:
        """Make the method what it was, if it still exists."""
        method = self._method()
        if method is None:
            return
        replacement = method.__self__
        fields = _fields(method)
        retain(id(replacement.__self__))
        _write(fields, self._ml, id(replacement.__self__), self._vectorcall)
        release(id(replacement))


def _flags_field(cls: type) -> ctypes.c_ulong:
    """The ``tp_flags`` of `cls`, found once by looking for the value that Python reports."""
    global _FLAGS_OFFSET
    if _FLAGS_OFFSET is None:
        word = ctypes.sizeof(ctypes.c_void_p)
        size: Any = type.__basicsize__
        for offset in range(_HEADER, size, word):
            if all(
                ctypes.c_ulong.from_address(id(t) + offset).value == t.__flags__
                for t in (int, str, dict, type, _Builtin, BaseException)
            ):
                _FLAGS_OFFSET = offset
                break
        else:
            raise SystemError("tp_flags was not found")
    return ctypes.c_ulong.from_address(id(cls) + _FLAGS_OFFSET)


class _Mutable:
    """Within it, attributes of the C type `cls` may be set."""

    __slots__ = ("_field", "_cls", "_was")

    def __init__(self, cls: type) -> None:
        self._cls = cls
        self._field = _flags_field(cls)
        self._was = cls.__flags__ & _TPFLAGS_IMMUTABLETYPE

    def __enter__(self) -> None:
        with standstill:
            self._field.value &= ~_TPFLAGS_IMMUTABLETYPE

    def __exit__(self, *_: object) -> None:
        with standstill:
            self._field.value |= self._was
        _type_modified(self._cls)


def set_attribute(cls: type, name: str, value: Any) -> None:
    """Set an attribute of a class, C types included."""
    with _Mutable(cls):
        setattr(cls, name, value)


def del_attribute(cls: type, name: str) -> None:
    """Delete an attribute that `set_attribute` added to a class which had none of its own."""
    with _Mutable(cls):
        delattr(cls, name)


class _Slot:
    """An object with one field that owns a reference, whose word can be written as well."""

    __slots__ = ("held",)
    held: Any


_spare: list[tuple[_Slot, Any]] = []
"""Slots that are empty, with their words.  Whoever takes one has it alone."""


def _take_slot() -> tuple[_Slot, Any]:
    try:
        return _spare.pop()
    except IndexError:
        slot = _Slot()
        word = (ctypes.c_size_t * 1).from_address(id(slot) + _HEADER)
        return slot, memoryview(word).cast("B").cast("P")


# References are counted by an object's own field.  A call of a C function by ctypes is an event for
# audit hooks from CPython 3.14: the program would run while its state is exchanged.


def retain(address: int) -> None:
    """Take one more reference to what a word read from the interpreter's memory refers to."""
    slot, word = taken = _take_slot()
    word[0] = address
    value = slot.held
    word[0] = 0
    slot.held = value
    word[0] = 0
    _spare.append(taken)


def release(address: int) -> None:
    """Give up the reference that a word read from the interpreter's memory owns."""
    slot, word = taken = _take_slot()
    word[0] = address
    del slot.held
    _spare.append(taken)


def poll_registrations(poller: Any) -> dict[int, int]:
    """The descriptors registered with a ``select.poll()`` object: {descriptor: events}.

    pollObject's first field (Modules/selectmodule.c) is that dictionary.
    """
    found: Any = ctypes.py_object.from_address(id(poller) + _HEADER).value
    if type(found) is not dict:
        raise SystemError("a poll object's registrations were not found")
    return found


def swap_thread_handles(one: Any, other: Any) -> None:
    """Exchange what two ``_thread._ThreadHandle`` objects stand for (CPython 3.13).

    ThreadHandleObject (Modules/_threadmodule.c) is a header and one owned pointer.
    """
    a = ctypes.c_void_p.from_address(id(one) + _HEADER)
    b = ctypes.c_void_p.from_address(id(other) + _HEADER)
    a.value, b.value = b.value, a.value


def set_semlock_owner(semlock: Any, ident: int) -> None:
    """Have the OS thread `ident` be the last that took a ``_multiprocessing.SemLock``.

    SemLockObject (Modules/_multiprocessing/semaphore.c) is a header, the semaphore's address, which
    Python is told as ``handle``, and the identifier of that OS thread.
    """
    address = id(semlock) + _HEADER
    if ctypes.c_void_p.from_address(address).value != semlock.handle:
        raise SystemError("the owner of a shared semaphore was not found")
    ctypes.c_ulong.from_address(address + ctypes.sizeof(ctypes.c_void_p)).value = ident


def word_finder(sample: Any, value: int) -> Callable[[Any], Any] | None:
    """Where C objects like `sample` keep the word that is `value` in it.

    Returns what makes a ctypes integer of that word of another such object; it does not keep the
    object alive.  None if no word, or more than one, of `sample` is `value`.
    """
    word = ctypes.c_size_t
    size = ctypes.sizeof(word)
    found = [
        offset
        for offset in range(_HEADER, type(sample).__basicsize__ - size + 1, size)
        if word.from_address(id(sample) + offset).value == value
    ]
    if len(found) != 1:
        return None
    offset = found[0]
    return lambda other: word.from_address(id(other) + offset)


def leak(value: Any) -> None:
    """Keep `value` alive for ever, beyond the interpreter's finalization."""
    retain(id(value))

"""What code that has begun may still use: the names in what may run from where it is.

A frame whose variable ``jobs`` is not read any more can't put anything there, whatever it holds.
Which instructions may still run follows from the jumps of its code and its exception table.

1. What the running statement has already put on the stack counts as what may be used: one begins
   where its statement does.  Where that is not clear, earlier.
2. Each exception may come at each place.  What code looks up by a text (``eval``, ``vars``) is not
   seen: `BY_TEXT` are the names that tell of it.
3. Functions that are made within a code object count with all that they name.

Costs some 100 us for each place, once.  Any OS thread that has the GIL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from .expressions import (
    ATTRIBUTES,
    BEGINNINGS,
    CONSTANTS,
    NOTHING,
    PAIRS,
    UNKNOWN,
    exception_table,
    instructions_of,
    is_subscription,
    line_at,
    number_at,
    value_of,
)
from .modules import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dis import Instruction

__all__ = ["BY_TEXT", "Ahead", "ahead_of", "imported_in", "names_in", "values_in"]

BY_TEXT = frozenset(
    {"__dict__", "__globals__", "__import__", "__subclasses__", "_current_frames", "_getframe"}
    | {"attrgetter", "currentframe", "eval", "exec", "f_globals", "f_locals", "get_objects"}
    | {"get_referrers", "getmembers", "globals", "import_module", "importlib", "locals", "modules"}
    | {"pickle", "pkgutil", "run_module", "run_path", "runpy", "shelve", "vars"}
)
"""Names that tell that code may use what it does not name."""

_LOOPS = ("JUMP_BACKWARD", "POP_JUMP_BACKWARD_IF_TRUE", "POP_JUMP_BACKWARD_IF_FALSE")
_LEAVES = ("END_FOR", "POP_TOP", "POP_ITER")
"""What takes the iterator off the stack where a loop ends."""
_ENDS = ("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "INTERPRETER_EXIT")
_STORES = ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR", "STORE_SUBSCR")
_BETWEEN = ("RESUME", "POP_TOP", "POP_JUMP", "JUMP", "FOR_ITER", "POP_EXCEPT")
_READS = ("LOAD_FAST", "DEREF", "LOAD_CLOSURE")


class Ahead(NamedTuple):
    """What may still be used."""

    offsets: frozenset[int]
    """The instructions that may run, those of the running statement included."""
    variables: frozenset[str]
    """Of the function."""
    names: frozenset[str]
    """Of globals, attributes and modules."""
    has_results: bool
    """Whether results of calls may lie on the stack, which no name stands for."""


def ahead_of(frame: FrameType) -> Ahead:
    """What `frame` may still use."""
    return _ahead(_Place(frame.f_code, frame.f_lasti))


class _Place:
    """A place in a code object, which is known by its identity: comparing code takes long."""

    __slots__ = ("at", "code")

    def __init__(self, code: CodeType, at: int) -> None:
        self.code = code
        self.at = at

    def __hash__(self) -> int:
        return hash((id(self.code), self.at))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and self.code is other.code and self.at == other.at


@lru_cache(1000)
def _ahead(place: _Place) -> Ahead:
    instructions = instructions_of(place.code)
    at = max(number_at(instructions, place.at), 0)
    reached = _reached(instructions, place.code, _start_of_statement(instructions, at))
    variables: set[str] = set()
    names: set[str] = set()
    for number in reached:
        each = instructions[number]
        if any(part in each.opname for part in _READS):
            variables.update([each.argval] if isinstance(each.argval, str) else each.argval)
        elif each.opcode in _has_name() and not each.opname.startswith(("STORE", "DELETE")):
            names.add(each.argval)
        elif isinstance(each.argval, CodeType):
            names |= names_in(each.argval)
    if names & BY_TEXT:
        variables.update(place.code.co_varnames, place.code.co_cellvars, place.code.co_freevars)
    offsets = frozenset(instructions[number].offset for number in reached)
    return Ahead(offsets, frozenset(variables), frozenset(names), _has_results(instructions, at))


def _start_of_statement(instructions: list[Instruction], at: int) -> int:
    """The number of an instruction at which the stack has nothing of what runs at number `at`."""
    loops = {each.argval for each in instructions if each.opname in _LOOPS}
    ends = {each.argval for each in instructions if each.opname == "FOR_ITER"}
    for number in range(at, 0, -1):
        name, before = instructions[number].opname, instructions[number - 1].opname
        if instructions[number].offset in loops and name != "FOR_ITER":
            return number  # of a statement: within an expression it is that of a comprehension
        if instructions[number].offset in ends:
            first = number
            while instructions[first].opname in _LEAVES:
                first += 1
            if first <= at and instructions[first].opname != "SWAP":  # likewise
                return first
            continue
        if number == at:
            continue
        if name == "RESUME":
            return number + 1
        if name.startswith(_STORES) and before not in ("COPY", "SWAP"):
            return number + 1  # else it may be one within an expression
        if name == "POP_TOP" and before.startswith("CALL"):
            return number + 1
    return 0


def _has_results(instructions: list[Instruction], at: int) -> bool:
    """Whether the statement that runs at number `at` has called something before, and has more on
    the stack than what it is calling now."""
    effect = whole("dis").stack_effect
    if instructions[at].opname == "PRECALL":  # CPython 3.11, where that may make the call
        at += 1
    first = at
    while first and not instructions[first - 1].opname.startswith((*_STORES, *_BETWEEN)):
        first -= 1
    part = [each for each in instructions[first : at + 1] if each.opname != "CACHE"]
    if not any(each.opname.startswith("CALL") for each in part[:-1]):
        return False
    depth = sum(effect(each.opcode, each.arg, jump=False) for each in part)
    return bool(depth > 1)


def _reached(instructions: list[Instruction], code: CodeType, start: int) -> set[int]:
    """The numbers of the instructions that may run, from number `start` on."""
    number_of = {each.offset: number for number, each in enumerate(instructions)}
    spans = [*exception_table(code.co_exceptiontable)]
    handled: set[int] = set()
    reached: set[int] = set()
    todo = [start]
    while todo:
        number = todo.pop()
        while number < len(instructions) and number not in reached:
            reached.add(number)
            each = instructions[number]
            for begin, end, target in spans:
                if begin <= each.offset < end and target not in handled:
                    handled.add(target)
                    todo.append(number_of[target])
            if each.opcode in _jumps():
                todo.append(number_of[each.argval])
            name = each.opname
            if name in _ENDS or (name.startswith("JUMP_") and "_IF_" not in name):
                break
            number += 1
    return reached


@lru_cache(1)
def _jumps() -> frozenset[int]:
    dis: Any = whole("dis")
    return frozenset([*dis.hasjrel, *dis.hasjabs])


@lru_cache(1)
def _has_name() -> frozenset[int]:
    return frozenset(whole("dis").hasname)


def names_in(code: CodeType) -> set[str]:
    """The names that a code object and those within it use: globals, attributes and modules."""
    names: set[str] = set()
    for each in _nested(code):
        names.update(each.co_names)
    return names


def imported_in(codes: Iterable[CodeType]) -> Iterator[str]:
    """The last words of the modules that code imports when it runs."""
    opcode = whole("dis").opmap["IMPORT_NAME"]
    for outer in codes:
        for code in _nested(outer):
            if opcode in code.co_code[::2]:
                for each in instructions_of(code):
                    if each.opcode == opcode and each.argval:
                        yield each.argval.rpartition(".")[2]


def values_in(frame: Any, offsets: frozenset[int] | None) -> Iterator[tuple[int, Any, str]]:
    """What the simple expressions of `frame`'s code stand for, those at `offsets` if there are
    such: the line of each, the value, and the attribute that is read of it, ``with`` where a block
    is entered, or nothing.

    A method is bound, if it is a function of Python.  `frame` may be what `value_of` takes for one.
    """
    instructions = instructions_of(frame.f_code)
    for number, first in enumerate(instructions):
        if first.opname not in BEGINNINGS and first.opname not in PAIRS:
            continue
        if offsets is not None and first.offset not in offsets:
            continue
        if first.opname in PAIRS:
            yield line_at(first), frame.f_locals.get(first.argval[0], UNKNOWN), ""
        yield from _chain(frame, instructions, number)


def _chain(
    frame: Any, instructions: list[Instruction], number: int
) -> Iterator[tuple[int, Any, str]]:
    """What an expression stands for, and what those within it do."""
    chain = [instructions[number]]
    owner: Any = UNKNOWN
    at = number + 1
    while at < len(instructions):
        value = value_of(frame, tuple(chain))
        is_method = type(value) is FunctionType and owner is not UNKNOWN
        if is_method and not isinstance(owner, (type, ModuleType)):
            value = MethodType(value, owner)
        if value is UNKNOWN:
            return
        each = instructions[at]
        if each.opname in ATTRIBUTES:
            yield line_at(each), value, each.argval
            owner = value
        elif each.opname in CONSTANTS and is_subscription(instructions[at + 1]):
            yield line_at(each), value, "[]"
            chain.append(each)
            at += 1
            each, owner = instructions[at], UNKNOWN
        elif each.opname not in NOTHING:
            is_entered = each.opname in ("BEFORE_WITH", "COPY")
            yield line_at(chain[0]), value, "with" if is_entered else ""
            return
        chain.append(each)
        at += 1


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _nested(each)

"""What simple expressions in running code stand for: ``lock``, ``self.locks[0]``, ``module.call``.

Nothing notes who holds a plain lock.  But the code that holds one nearly always says so: a frame
that is inside ``with lock:`` has entered what ``lock`` stands for.  Which ``with`` blocks a frame
is inside follows from the exception table of its code; what they have entered is found by reading
the names and attributes of the expression again.

1. Nothing of the program is called: attributes are read from dictionaries and slots, never through
   properties or ``__getattr__``.  What can't be read so is not known.
2. What a name stands for may have changed since.  So an answer is a claim, to be compared by
   identity with an object that is looked for.
3. Instructions of CPython 3.11 to 3.15 are known; an unknown one makes the answer "not known".

Costs some 100 us for each function, once.  Any OS thread that has the GIL.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from functools import lru_cache
from types import CellType, CodeType, FrameType, MemberDescriptorType

from .modules import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dis import Instruction
    from typing import Any

__all__ = [
    "ATTRIBUTES",
    "BEGINNINGS",
    "CONSTANTS",
    "NOTHING",
    "PAIRS",
    "UNKNOWN",
    "Moment",
    "acquired",
    "attribute",
    "called",
    "content_of",
    "entered",
    "exception_table",
    "has_entered_more",
    "instructions_of",
    "is_inside_block",
    "is_subscription",
    "line_at",
    "number_at",
    "released",
    "value_of",
]

UNKNOWN = object()

_NAMES = frozenset({"LOAD_NAME", "LOAD_GLOBAL", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS"})
_LOCALS = frozenset(
    {"LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW", "LOAD_DEREF", "LOAD_FROM_DICT_OR_DEREF"}
)
PAIRS = frozenset({"LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW"})
BEGINNINGS = _NAMES | _LOCALS
ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
CONSTANTS = frozenset({"LOAD_CONST", "LOAD_SMALL_INT", "LOAD_COMMON_CONSTANT"})
NOTHING = frozenset({"NOP", "PUSH_NULL", "CACHE", "EXTENDED_ARG", "RESUME", "NOT_TAKEN"})
_ENTERING = frozenset({"LOAD_SPECIAL", "SWAP", "COPY", "PUSH_NULL", "NOP", "BEFORE_WITH"})
_CALLS = frozenset({"CALL", "PRECALL", "CALL_KW"})
_PLAIN = frozenset({int, str})


class _Entry:
    """What a ``with`` block is entered with, or what a method is called of."""

    __slots__ = ("expression", "line")

    def __init__(self, line: int, expression: tuple[Instruction, ...]) -> None:
        self.line = line
        self.expression = expression


class Moment:
    """What a frame calls and what its names stand for, kept for when `called` can be asked: that
    takes `dis`, whose import lets other threads run."""

    __slots__ = ("f_code", "f_globals", "f_lasti", "f_locals")

    def __init__(self, frame: FrameType) -> None:
        self.f_code = code = frame.f_code
        self.f_lasti = frame.f_lasti
        names = {*code.co_names, *code.co_varnames, *code.co_cellvars, *code.co_freevars}
        self.f_locals, self.f_globals = (
            {name: namespace.get(name, UNKNOWN) for name in names}
            for namespace in (frame.f_locals, frame.f_globals)
        )


def entered(frame: FrameType) -> Iterator[tuple[Any, int]]:
    """What the ``with`` blocks that `frame` is inside have entered, each with its line; not what
    is no simple expression."""
    for value, line in _entered(frame):
        if value is not UNKNOWN:
            yield value, line


def is_inside_block(frame: FrameType) -> bool:
    """Whether `frame` is inside a ``with`` block, whatever that has entered."""
    return any(True for _ in _entered(frame))


def has_entered_more(frame: FrameType) -> bool:
    """Whether `frame` is inside a ``with`` block of which it is not known what was entered."""
    return any(value is UNKNOWN for value, _ in _entered(frame))


def _entered(frame: FrameType) -> Iterator[tuple[Any, int]]:
    spans, entries = _blocks(frame.f_code)
    at = frame.f_lasti
    passed: set[int] = set()
    while True:
        # The handler of a block lies within the blocks around it.
        target = next((span[2] for span in spans if span[0] <= at < span[1]), None)
        if target is None or target in passed:
            return
        passed.add(target)
        at = target
        entry = entries.get(target)
        if entry is not None:
            yield value_of(frame, entry.expression), entry.line


def acquired(frame: FrameType) -> Iterator[tuple[Any, int]]:
    """What `frame` has called ``acquire`` of, and not ``release`` later in its text."""
    held: dict[int, tuple[Any, int]] = {}
    for name, behind, entry in _lock_calls(frame.f_code):
        if behind > frame.f_lasti:
            break
        value = value_of(frame, entry.expression)
        if value is UNKNOWN:
            continue
        if name == "acquire":
            held[id(value)] = value, entry.line
        else:
            held.pop(id(value), None)
    yield from held.values()


def released(frame: FrameType) -> Iterator[Any]:
    """What `frame` has called ``release`` of: the calls that stand before where it is."""
    for name, behind, entry in _lock_calls(frame.f_code):
        if behind > frame.f_lasti:
            return
        if name == "release":
            yield value_of(frame, entry.expression)


def called(frame: FrameType | Moment) -> Any:
    """What `frame` is calling, of a method its function; `UNKNOWN` if that can't be read."""
    instructions = instructions_of(frame.f_code)
    at = number_at(instructions, frame.f_lasti)
    if instructions[at].opname not in _CALLS:
        return UNKNOWN
    place = _start(instructions[at])
    if place is None:
        return UNKNOWN
    # What stands before may come from later lines: the ends of loops and of branches.
    begins = (
        number
        for number in range(at - 1, -1, -1)
        if _start(instructions[number]) == place and instructions[number].opname in BEGINNINGS
    )
    first = next(begins, at)
    chain: list[Instruction] = []
    for each in instructions[first:at]:
        if each.opname in NOTHING:
            continue
        if _start(each) != place or (chain and each.opname not in ATTRIBUTES):
            break
        chain.append(each)
    return value_of(frame, tuple(chain))


def content_of(cell: CellType) -> Any:
    """What a cell holds; `UNKNOWN` if it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return UNKNOWN


def attribute(owner: Any, name: str) -> Any:
    """An attribute as dictionaries and slots have it; `UNKNOWN` if there is none."""
    for cls in type(owner).__mro__:
        found = cls.__dict__.get(name, UNKNOWN)
        if type(found) is MemberDescriptorType:
            try:
                return found.__get__(owner, type(owner))
            except AttributeError:
                return UNKNOWN
        if found is not UNKNOWN:
            break
    else:
        found = UNKNOWN
    try:
        own = object.__getattribute__(owner, "__dict__")
    except AttributeError:
        return found
    if type(own) is dict and name in own:
        return own[name]
    if isinstance(owner, type):
        for cls in owner.__mro__:
            if name in cls.__dict__:
                return cls.__dict__[name]
    return found


def _start(instruction: Instruction) -> tuple[int, int] | None:
    positions = instruction.positions
    if positions is None or positions.lineno is None or positions.col_offset is None:
        return None
    return positions.lineno, positions.col_offset


@lru_cache(256)
def instructions_of(code: CodeType) -> list[Instruction]:
    """The instructions of a code object, without their caches."""
    return list(whole("dis").get_instructions(code))


_Blocks = tuple[tuple[tuple[int, int, int], ...], dict[int, _Entry]]


@lru_cache(256)
def _blocks(code: CodeType) -> _Blocks:
    """The exception table of a function: start, end and handler of each part, and those handlers
    that are of ``with`` blocks."""
    spans = tuple(exception_table(code.co_exceptiontable))
    if not spans:
        return (), {}
    instructions = instructions_of(code)
    index = {each.offset: number for number, each in enumerate(instructions)}
    entries: dict[int, _Entry] = {}
    for start, _, target in spans:
        number = index.get(target)
        if number is None or target in entries or start not in index:
            continue
        if any(each.opname == "WITH_EXCEPT_START" for each in instructions[number : number + 3]):
            before = _before_entering(instructions, index[start])
            expression = _expression(instructions, before)
            entering = instructions[before - len(expression) + 1 : index[start]]
            # What is jumped to has more than one value: `with a or b`.
            if any(each.is_jump_target for each in entering):
                expression = ()
            line = line_at(expression[0]) if expression else 0
            entries[target] = _Entry(line, expression)
    return spans, entries


def _before_entering(instructions: list[Instruction], first: int) -> int:
    """The number behind the last instruction that computes what is entered."""
    number = first
    if number and instructions[number - 1].opname == "CALL":
        number -= 1
    while number and instructions[number - 1].opname in _ENTERING:
        number -= 1
    return number


@lru_cache(256)
def _lock_calls(code: CodeType) -> tuple[tuple[str, int, _Entry], ...]:
    """The calls of ``acquire`` and ``release`` in a function's text: the name, the offset behind
    the call, and what it is called of."""
    if not {"acquire", "release"} & {*code.co_names}:
        return ()
    instructions = instructions_of(code)
    calls = []
    for number, each in enumerate(instructions):
        if each.opname in ATTRIBUTES and each.argval in ("acquire", "release"):
            expression = _expression(instructions, number)
            behind = _behind_call(instructions, number)
            if expression and behind is not None and behind < len(instructions):
                entry = _Entry(line_at(each), expression)
                calls.append((each.argval, instructions[behind].offset, entry))
    return tuple(calls)


def _behind_call(instructions: list[Instruction], number: int) -> int | None:
    """The number behind the call of the method that instruction `number` loads, if it is called."""
    place = _start(instructions[number])
    for later in range(number + 1, len(instructions)):
        each = instructions[later]
        if each.opname in ("CALL", "CALL_KW") and _start(each) == place:
            return later + 1
    return None


def _expression(instructions: list[Instruction], end: int) -> tuple[Instruction, ...]:
    """The instructions before number `end` that compute one value; none if it is not simple."""
    wanted = 1
    number = end
    while wanted > 0 and number:
        number -= 1
        name = instructions[number].opname
        if name in PAIRS:
            wanted -= 2
        elif name in _NAMES or name in _LOCALS or name in CONSTANTS:
            wanted -= 1
        elif is_subscription(instructions[number]):
            wanted += 1
        elif name not in ATTRIBUTES and name not in NOTHING:
            return ()
    return tuple(instructions[number:end]) if wanted <= 0 else ()


def is_subscription(each: Instruction) -> bool:
    """Whether it takes an item of what is below it on the stack."""
    return each.opname == "BINARY_SUBSCR" or (
        each.opname == "BINARY_OP" and each.argrepr.startswith("[")
    )


def number_at(instructions: list[Instruction], offset: int) -> int:
    """The number of the instruction at an offset, of which its caches are the end; -1: none."""
    return sum(each.offset <= offset for each in instructions) - 1


def line_at(each: Instruction) -> int:
    """The line of an instruction; 0 if it has none."""
    return (each.positions and each.positions.lineno) or 0


def value_of(frame: FrameType | Moment, expression: tuple[Instruction, ...]) -> Any:
    """What a simple expression stands for in `frame` now."""
    stack: list[Any] = []
    for each in expression:
        name = each.opname
        if name in NOTHING:
            continue
        if name in PAIRS:
            stack += [frame.f_locals.get(one, UNKNOWN) for one in each.argval]
        elif name in _LOCALS:
            stack.append(frame.f_locals.get(each.argval, UNKNOWN))
        elif name in _NAMES:
            stack.append(_named(frame, each.argval))
        elif name in CONSTANTS:
            stack.append(each.argval)
        elif name in ATTRIBUTES:
            stack[-1] = attribute(stack[-1], each.argval)
        else:
            key = stack.pop()
            stack[-1] = _item(stack[-1], key)
        if stack[-1] is UNKNOWN:
            return UNKNOWN
    return stack[-1] if stack else UNKNOWN


def _named(frame: FrameType | Moment, name: str) -> Any:
    if not frame.f_code.co_flags & 1:  # CO_OPTIMIZED: of a function
        found = frame.f_locals.get(name, UNKNOWN)
        if found is not UNKNOWN:
            return found
    found = frame.f_globals.get(name, UNKNOWN)
    return vars(builtins).get(name, UNKNOWN) if found is UNKNOWN else found


def _item(container: Any, key: Any) -> Any:
    """An item of a plain list, tuple or dictionary."""
    if type(key) not in _PLAIN or type(container) not in (dict, list, tuple):
        return UNKNOWN
    try:
        return container[key]
    except (LookupError, TypeError):
        return UNKNOWN


def exception_table(table: bytes) -> Iterator[tuple[int, int, int]]:
    """Start, end and target of each entry, in bytes: ``Objects/exception_handling_notes.txt``."""
    entries = iter(table)

    def number() -> int:
        byte = next(entries)
        value = byte & 63
        while byte & 64:
            byte = next(entries)
            value = value << 6 | byte & 63
        return value

    while True:
        try:
            start = number() * 2
            length = number() * 2
            target = number() * 2
            number()  # depth and lasti
        except StopIteration:
            return
        yield start, start + length, target

"""Running the cases of `bench peers`: each runtime has a turn in each round.

Servers live through all rounds of their case and are idle while another has its turn.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack

from .capacity import TooLarge, check_parked, check_server, raise_descriptor_limit
from .harness.children import ChildFailed, Children
from .harness.rounds import collect, take_turns
from .harness.runtimes import LOOPS, command, environment, patch
from .peer_cases import Run
from .service import Service

__all__ = ["Failed", "growth", "measure_run"]

_STARTS = 5

Values = dict[str, dict[str, list[float]]]
"""By key of the case and runtime: a value for each round."""
Turn = Callable[[], dict[str, float]]
"""What a run yields in a round: a value for each key."""
Failed = Callable[[str, str], None]
"""Told of a runtime that is left out, and why."""


def measure_run(
    run: Run, runtimes: list[str], rounds: int, seconds: float, failed: Failed
) -> Values:
    """The values of a run under those of its runtimes that are among `runtimes`.

    `seconds` is about what each round takes.
    """
    turns: dict[str, Turn] = {}
    values: Values = {}
    with ExitStack() as stack:
        for runtime in run.runtimes:
            if runtime in runtimes:
                try:
                    turns[runtime] = _turn(run, runtime, seconds, stack)
                except (ChildFailed, TooLarge) as error:
                    failed(runtime, str(error))
        for runtime, found in collect(take_turns(turns, rounds, failed)).items():
            for each in found:
                for key, value in each.items():
                    values.setdefault(key, {}).setdefault(runtime, []).append(value)
    return values


def _turn(run: Run, runtime: str, seconds: float, stack: ExitStack) -> Turn:
    """What a runtime does once a round."""
    if run.kind == "startup":
        return lambda: {"": _startup(runtime)}
    program, *args = run.args
    if run.kind == "server":
        if runtime in LOOPS:
            raise_descriptor_limit()
        else:
            check_server(runtime, run.size)
        service = stack.enter_context(Service(runtime, program, run.size))
        service.open(seconds)
        return lambda: {"": service.turn(receives="receive" in args)}
    if "parked" in args:
        check_parked(runtime, run.size)
    else:
        args.append(str(seconds))
    if runtime in LOOPS:
        program = "loops.py"

    def turn() -> dict[str, float]:
        with Children() as children:
            result: dict[str, float] = children.start(
                runtime, command(runtime, program, *args)
            ).result()
        return result

    return turn


def _startup(runtime: str) -> float:
    """CPU seconds that a runtime takes to start, over a bare interpreter; the least of several."""
    bare, patched = [], []
    for _ in range(_STARTS):
        bare.append(_cpu_of("pass"))
        patched.append(_cpu_of(patch(runtime)))
    return min(patched) - min(bare)


def _cpu_of(code: str) -> float:
    command = [sys.executable, "-P", "-W", "ignore", "-c", code]
    pid = os.posix_spawn(sys.executable, command, environment())
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise ChildFailed(f"{code!r} fails")
    return usage.ru_utime + usage.ru_stime


def growth(
    runtimes: list[str], sizes: list[int], rounds: int, seconds: float, failed: Failed
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """By operation, runtime and number of waiting threads: CPU seconds, for each round."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for size in sizes:
        run = Run("program", ("crowd.py", "growth", str(size)), tuple(runtimes), size)
        for key, by_runtime in measure_run(run, runtimes, rounds, seconds, failed).items():
            for runtime, values in by_runtime.items():
                found.setdefault(key, {}).setdefault(runtime, {})[str(size)] = values
    return found

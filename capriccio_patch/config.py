"""Settings: keyword arguments over CAPRICCIO_* variables over defaults, in one frozen record.

1. A `Settings` never changes after `Settings.load`; whoever holds one may share it between OS
   threads.
2. An environment variable that is empty counts as absent, as a shell's `NAME= command` means it.
3. Names of backends, schedulers and patches are not checked here: their registries know them.

This runs at the start of every patched program, so it imports nothing that a bare interpreter has
not loaded; `difflib` and `warnings` are imported only when there is something to complain of.
"""

from __future__ import annotations

import os
import sys

from .errors import CapriccioWarning, ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Names = str | Iterable[str]

_PREFIX = "CAPRICCIO_"
_BLOCKED_MODES = ("off", "warn", "raise")
_BLOCKED_SECONDS = 0.1
_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_CORES = ("auto", "compiled", "python")
_DEADLOCK_MODES = ("off", "warn", "raise")
_DRAWINGS = (".svg", ".dot", ".json", ".html")


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a name")
    return value.strip()


def _names(value: object) -> tuple[str, ...]:
    try:
        names = value.split(",") if isinstance(value, str) else [*value]  # type: ignore[misc]
        return tuple(stripped for name in names if (stripped := name.strip()))
    except (AttributeError, TypeError):
        raise ValueError("a list of names; in the environment, separated by commas") from None


def _native(value: object) -> tuple[str, ...]:
    names = _names(value)
    if "off" in names and len(names) > 1:
        raise ValueError("off, or a list of names")
    return names


def _seconds(value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise ValueError("a number of seconds, 0 (off) or more")
    return seconds


def _blocked(value: object) -> tuple[float, str]:
    """Read MODE, SECONDS or SECONDS:MODE; (0.0, "off") is the one form of being off."""
    text = str(value).strip()
    if text in _BLOCKED_MODES:
        text = f"{_BLOCKED_SECONDS}:{text}"
    number, _, mode = text.partition(":")
    mode = mode or "warn"
    try:
        seconds = _seconds(number)
        if mode not in _BLOCKED_MODES:
            raise ValueError
    except ValueError:
        raise ValueError("off, warn, raise, SECONDS, SECONDS:warn or SECONDS:raise") from None
    return (seconds, mode) if seconds and mode != "off" else (0.0, "off")


def _core(value: object) -> str:
    if value not in _CORES:
        raise ValueError(", ".join(_CORES))
    return str(value)


def _processors(value: object) -> int:
    """0 stands for ``auto``."""
    text = str(value).strip()
    number = 0 if text == "auto" else int(text) if text.isdecimal() else -1
    if number < 0 or text == "0":
        raise ValueError("auto, or a whole number from 1 on")
    return number


def _signal_number(value: object) -> int:
    """The number of a signal that has a name here: ``SIGQUIT``, ``QUIT``."""
    import _signal  # type: ignore[import-not-found]

    name = value.upper() if isinstance(value, str) else ""
    number = getattr(_signal, name if name.startswith("SIG") else f"SIG{name}", None)
    if not isinstance(number, int) or name.startswith("SIG_"):
        raise ValueError("the name of a signal, as SIGQUIT")
    return int(number)


def _deadlock(value: object) -> str:
    if value not in _DEADLOCK_MODES:
        raise ValueError("off, warn or raise")
    return str(value)


def _int(value: object) -> int:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        raise ValueError("a whole number") from None


def _drawing(value: object) -> str:
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
    if not isinstance(path, str) or not path.endswith(_DRAWINGS):
        raise ValueError(f"the name of a file that ends in {', '.join(_DRAWINGS)}")
    return path


def _switch(value: object) -> bool:
    text = str(value).strip().lower()
    if text not in _ON + _OFF:
        raise ValueError("1 or 0")
    return text in _ON


# field: (environment variable, reader that raises ValueError(what is allowed), default)
_FIELDS: dict[str, tuple[str, Callable[[object], Any], Any]] = {
    "sockio": ("CAPRICCIO_SOCKIO", _name, "auto"),
    "diskio": ("CAPRICCIO_DISKIO", _name, "auto"),
    "scheduler": ("CAPRICCIO_SCHEDULER", _name, "fifo"),
    "seed": ("CAPRICCIO_SEED", _int, None),
    "graph": ("CAPRICCIO_GRAPH", _drawing, None),
    "slice": ("CAPRICCIO_SLICE", _seconds, 0.010),
    "blocked": ("CAPRICCIO_BLOCKED", _blocked, (_BLOCKED_SECONDS, "warn")),
    "deadlock": ("CAPRICCIO_DEADLOCK", _deadlock, "warn"),
    "dump": ("CAPRICCIO_DUMP", _signal_number, None),
    "ps": ("CAPRICCIO_PS", _switch, False),
    "offload": ("CAPRICCIO_OFFLOAD", _names, ()),
    "native": ("CAPRICCIO_NATIVE", _native, ()),
    "processors": ("CAPRICCIO_PROCESSORS", _processors, 1),
    "core": ("CAPRICCIO_CORE", _core, "auto"),
    "only": ("CAPRICCIO_ONLY", _names, None),
    "exclude": ("CAPRICCIO_EXCLUDE", _names, ()),
    "children": ("CAPRICCIO_CHILDREN", _switch, None),
}
# CAPRICCIO_PATCH is read by the start-up hook of an environment, before this module is loaded.
_VARIABLES = frozenset({"CAPRICCIO_PATCH", *(row[0] for row in _FIELDS.values())})


class Settings:
    """What one `patch_all` works with. Made by `Settings.load`, then read-only."""

    __slots__ = (*_FIELDS,)

    sockio: str
    """Name of the I/O scheme for sockets and pipes, or "auto"."""
    diskio: str
    """Name of the I/O scheme for files, or "auto"."""
    scheduler: str
    """Name of the policy that picks the next runnable thread."""
    seed: int | None
    """What a scheduler that draws lots begins with; None: it chooses."""
    graph: str | None
    """Where the blocking graph is drawn at exit; the suffix says how.  None: nowhere."""
    slice: float
    """Seconds that a thread may compute before it is preempted; 0.0: never preempted."""
    blocked: tuple[float, str]
    """Seconds after which a call that blocks all threads is reported, and "warn" or "raise";
    (0.0, "off"): not watched."""
    deadlock: str
    """What is done about threads that wait for each other for good: "off", "warn" or "raise"."""
    dump: int | None
    """The signal at which all threads are dumped on standard error; None: none."""
    ps: bool
    """Whether the program answers ``python -m capriccio_patch.ps`` at a socket."""
    offload: tuple[str, ...]
    """Names of functions to run on worker threads."""
    native: tuple[str, ...]
    """Names of C libraries that are left alone, each with a "-" before it; ("off",): all are."""
    processors: int
    """How many OS threads run green threads where there is no GIL; 0: as many as there are CPUs."""
    core: str
    """Which form the hot paths have: "python", "compiled", or "auto": compiled if it is built."""
    only: tuple[str, ...] | None
    """Names of the only patches to apply; None: all of them."""
    exclude: tuple[str, ...]
    """Names of patches not to apply."""
    children: bool | None
    """Whether interpreters that this process starts are to be patched; None: as the environment
    has it."""

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        sockio: str | None = None,
        diskio: str | None = None,
        scheduler: str | None = None,
        seed: int | str | None = None,
        graph: str | None = None,
        slice: float | str | None = None,  # noqa: A002
        blocked: float | str | None = None,
        deadlock: str | None = None,
        dump: str | None = None,
        ps: bool | str | None = None,
        offload: Names | None = None,
        native: Names | None = None,
        processors: int | str | None = None,
        core: str | None = None,
        only: Names | None = None,
        exclude: Names | None = None,
        children: bool | str | None = None,
        stacklevel: int = 2,
    ) -> Settings:
        """Merge the arguments that are not None over `environ` over the defaults.

        `environ` is the process's unless it is given; under ``-E`` and ``-I``, which have the
        interpreter ignore its environment, it is empty.

        Any OS thread may call this. A value that is not allowed raises ConfigError, which says
        where it came from and what is allowed. Each CAPRICCIO_* variable that nothing reads draws
        one CapriccioWarning, attributed to the frame `stacklevel` names as in `warnings.warn`.
        """
        arguments = locals()
        if environ is None:
            environ = {} if sys.flags.ignore_environment else os.environ
        settings = object.__new__(cls)
        for field, (variable, read, default) in _FIELDS.items():
            if (value := arguments[field]) is not None:
                source = field
            elif value := environ.get(variable, ""):
                source = variable
            else:
                object.__setattr__(settings, field, default)
                continue
            try:
                object.__setattr__(settings, field, read(value))
            except ValueError as allowed:
                raise ConfigError(f"{source}={value!r}: must be {allowed}") from None
        for variable in environ:
            if variable.startswith(_PREFIX) and variable not in _VARIABLES:
                _warn_unknown(variable, stacklevel)
        return settings

    def __setattr__(self, name: str, *value: object) -> None:
        raise AttributeError(f"Settings are read-only: {name}")

    __delattr__ = __setattr__

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, in a fresh dict."""
        return {field: getattr(self, field) for field in _FIELDS}

    def variables(self) -> dict[str, str]:
        """The environment by which another process loads these settings; defaults are left out.

        Each process draws to a file of its own: ``%p`` in its name stands for the process.
        """
        found = {}
        for field, (variable, _, default) in _FIELDS.items():
            value = getattr(self, field)
            if value == default or field == "children":
                continue
            if field == "blocked":
                value = "off" if value[1] == "off" else f"{value[0]}:{value[1]}"
            elif field == "graph":
                path, suffix = os.path.splitext(os.path.abspath(value))
                value = path + suffix if "%p" in path else f"{path}.%p{suffix}"
            elif field == "processors":
                value = value or "auto"
            elif isinstance(value, tuple):
                value = ",".join(value) or ","  # empty would be absent
            found[variable] = str(value)
        return found

    def __repr__(self) -> str:
        pairs = ", ".join(f"{field}={value!r}" for field, value in self.as_dict().items())
        return f"Settings({pairs})"


def _warn_unknown(variable: str, stacklevel: int) -> None:
    import difflib
    import warnings

    known = [name.removeprefix(_PREFIX) for name in sorted(_VARIABLES)]
    close = difflib.get_close_matches(variable.removeprefix(_PREFIX), known)
    hint = "did you mean {}?" if close else "known are {}"
    hint = hint.format(", ".join(_PREFIX + name for name in close or known))
    warnings.warn(
        f"unknown environment variable {variable} is ignored; {hint}",
        CapriccioWarning,
        stacklevel=stacklevel + 1,
    )

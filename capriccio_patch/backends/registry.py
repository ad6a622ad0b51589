"""What is chosen by name: the schemes that are built in, and those that others have added.

1. What is registered is a complete subclass of its contract, so whoever chooses it gets no error of
   an abstract class.
2. An entry point is loaded when it is asked for, and not before.
3. What is built in is imported when it is asked for: every patched program would pay for all.
4. ``auto`` is no scheme's name: it chooses one.
"""

from __future__ import annotations

from importlib import import_module

from ..errors import BackendUnavailable, ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint
    from typing import Any

__all__ = ["Registry"]

AUTO = "auto"


class Registry:
    """The schemes of one kind, by name.  Any OS thread."""

    def __init__(self, kind: str, contract: type[Any], group: str, built_in: dict[str, str]):
        """`kind` is what an error calls them, `group` the one of their entry points; `built_in` has
        the class of each name, as ``module:Class`` of this package.
        """
        self._kind = kind
        self._contract = contract
        self._group = group
        self.classes: dict[str, type[Any]] = {}
        self._built_in = built_in

    def register(self, name: str, cls: Any) -> None:
        """Make a scheme available under `name`.

        TypeError if `cls` is not a complete subclass of the contract, ConfigError for ``auto``.
        """
        contract = self._contract
        if not (isinstance(cls, type) and issubclass(cls, contract)):
            raise TypeError(
                f"a {self._kind} must be a subclass of {contract.__name__}, not {cls!r}"
            )
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        if missing:
            raise TypeError(f"the {self._kind} {cls.__name__} lacks {missing}")
        if name == AUTO:
            raise ConfigError(f"no {self._kind} can be called {AUTO!r}: that chooses one")
        self.classes[name] = cls

    def reasons(self) -> dict[str, str | None]:
        """The known schemes, each with the reason why it can't run here, or None.

        Those of entry points are loaded.
        """
        found: dict[str, str | None] = {}
        for name in dict.fromkeys([*self._built_in, *self.classes, *self._entry_points()]):
            try:
                found[name] = self.find(name).is_available()
            except ConfigError as error:
                found[name] = str(error)
        return found

    def first(self, names: Iterable[str]) -> tuple[str, type[Any]]:
        """The first that can run here, and its name.

        ConfigError for an unknown name, BackendUnavailable, with the reasons, where none can.
        """
        reasons = []
        for name in names:
            cls = self.find(name)
            reason = cls.is_available()
            if reason is None:
                return name, cls
            reasons.append(f"{name}: {reason}")
        raise BackendUnavailable(f"no such {self._kind} here: " + "; ".join(reasons))

    def find(self, name: str) -> type[Any]:
        """The scheme of a name.  ConfigError for an unknown one, or one that can't be loaded."""
        if name not in self.classes and name in self._built_in:
            module, _, cls = self._built_in[name].partition(":")
            self.register(name, getattr(import_module(f"{__package__}.{module}"), cls))
        if name not in self.classes:
            entries = self._entry_points()
            if name not in entries:
                known = ", ".join(dict.fromkeys([AUTO, *self._built_in, *self.classes, *entries]))
                raise ConfigError(f"unknown {self._kind} {name!r}: known are {known}")
            self._load(entries[name])
        return self.classes[name]

    def _entry_points(self) -> dict[str, EntryPoint]:
        """What installed distributions offer, by name."""
        from importlib.metadata import entry_points

        return {entry.name: entry for entry in entry_points(group=self._group)}

    def _load(self, entry: EntryPoint) -> None:
        try:
            self.register(entry.name, entry.load())
        except Exception as error:
            source = entry.dist.name if entry.dist is not None else "an unknown distribution"
            raise ConfigError(
                f"the {self._kind} {entry.name!r} of {source} ({entry.value}) can't be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error

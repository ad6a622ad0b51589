"""A class with a few values, each known by its name.

`enum` and what it imports would take a fiftieth of a start.  To a type checker a `Choice` is an
``enum.Enum``; it has no more of it than ``name``, ``value`` and identity.
"""

from __future__ import annotations

__all__ = ["Choice"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import Enum as Choice
else:

    class Choice:
        """Its subclasses have nothing but values, which become their only instances."""

        __slots__ = ("name", "value")

        def __init_subclass__(cls) -> None:
            for name, value in [*vars(cls).items()]:
                if not name.startswith("_"):
                    member = object.__new__(cls)
                    member.name = name
                    member.value = value
                    setattr(cls, name, member)

        def __repr__(self) -> str:
            return f"<{type(self).__name__}.{self.name}: {self.value!r}>"

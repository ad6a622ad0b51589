"""All that knows CPython's layout or private names; nothing else in the package does."""

from ..errors import PatchError

try:
    from . import interpose, originals, thread_state  # noqa: F401  # they ask for names
except (AttributeError, ImportError, KeyError) as error:
    raise PatchError(f"this Python can't be patched: names: {error!r}") from error

"""The errors and the warning that capriccio_patch raises of its own accord.

Owns the exception classes only; imports nothing, so that every layer may import it. Errors of a
program's own calls (OSError, TimeoutError, ...) stay what the taken-over call always raised.
"""


class CapriccioError(Exception):
    """Base of every error that is about capriccio_patch itself."""


class ConfigError(CapriccioError, ValueError):
    """A setting has a value that is not allowed, or names something unknown."""


class BackendUnavailable(CapriccioError, RuntimeError):
    """An I/O scheme that was asked for by name cannot run here; the message says why."""


class PatchError(CapriccioError, RuntimeError):
    """Patches cannot be applied or undone here and now."""


class ThreadsAlive(PatchError):
    """Undoing was refused because green threads are alive; the message names each of them."""


class ThreadsBlocked(CapriccioError, RuntimeError):
    """A call that could be neither parked nor preempted has kept all other threads waiting.

    Raised in the thread that made it, when it returns to Python, if ``CAPRICCIO_BLOCKED`` says so.
    """


class Deadlock(CapriccioError, RuntimeError):
    """Threads wait for each other, and nothing can wake them; the message says for what, and where.

    Raised in the main thread, if ``CAPRICCIO_DEADLOCK`` says so.
    """


class CapriccioWarning(RuntimeWarning):
    """Something was ignored or works less well than asked, and the program goes on."""

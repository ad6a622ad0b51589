"""Signals that become readable: what the program sees of that, and what it sets itself."""

from __future__ import annotations

import os
import select
import signal

import pytest

from capriccio_patch.diagnosis.signal_pipe import SignalPipe


def test_a_signal_becomes_readable() -> None:
    pipe = SignalPipe(signal.SIGUSR2)
    try:
        assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGUSR2)
        assert select.select([pipe.reader.fd], [], [], 10)[0]
        pipe.drain()
        assert not select.select([pipe.reader.fd], [], [], 0)[0]
    finally:
        pipe.close()


def test_the_handler_of_the_program_stays() -> None:
    came: list[int] = []
    pipe = SignalPipe(signal.SIGUSR2)
    old = signal.signal(signal.SIGUSR2, lambda signum, _: came.append(signum))
    try:
        pipe.close()
        os.kill(os.getpid(), signal.SIGUSR2)
        assert came == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, old)


def test_a_signal_that_can_not_be_had_leaves_no_pipe() -> None:
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(ValueError, match=f"signal {int(signal.SIGKILL)}: "):
        SignalPipe(signal.SIGKILL)
    assert len(os.listdir("/dev/fd")) == before

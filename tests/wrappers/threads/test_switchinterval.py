"""``sys.setswitchinterval`` sets the slice."""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytest

import capriccio_patch
from tests.preemption.conftest import started

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGRTMAX") and not hasattr(signal, "SIGEMT"),
    reason="no signal number to spare",
)


def test_the_switch_interval_is_the_slice() -> None:
    stock = sys.getswitchinterval()
    capriccio_patch.patch_all()
    try:
        assert sys.getswitchinterval() == capriccio_patch.status()["slice"] == 0.01
        sys.setswitchinterval(0.02)
        assert sys.getswitchinterval() == pytest.approx(0.02)
        for bad in (0, -1.0):
            with pytest.raises(ValueError, match="switch interval must be strictly positive"):
                sys.setswitchinterval(bad)
        with pytest.raises(TypeError):
            sys.setswitchinterval("1")  # type: ignore[arg-type]
        assert sys.getswitchinterval() == pytest.approx(0.02)
        sys.setswitchinterval(stock)
    finally:
        capriccio_patch.unpatch_all()
    assert sys.getswitchinterval() == stock


def test_a_short_slice_is_kept(patched: None) -> None:
    sys.setswitchinterval(1e-5)
    try:
        assert sys.getswitchinterval() == pytest.approx(1e-5)
        done = False

        def finish() -> None:
            nonlocal done
            done = True

        threads = started(finish)
        while not done:
            pass
        threads[0].join()
    finally:
        sys.setswitchinterval(0.005)


@pytest.mark.one_processor
def test_without_a_slice_nobody_is_preempted(run_script: Any) -> None:
    run_script(
        """
        import sys, threading
        stock = sys.getswitchinterval()
        import capriccio_patch
        capriccio_patch.patch_all()
        assert sys.getswitchinterval() == stock
        ran = []
        thread = threading.Thread(target=ran.append, args=(1,))
        threading._started = None
        import _thread
        _thread.start_new_thread(ran.append, (1,))
        for _ in range(3_000_000): pass
        assert not ran
        """,
        env={"CAPRICCIO_SLICE": "0", "CAPRICCIO_BLOCKED": "off"},
    )

"""Fixtures of the schedulers' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "runtime"))

from simulation import Simulation


@pytest.fixture
def sim() -> Simulation:
    """A kernel of its own for each test."""
    return Simulation()

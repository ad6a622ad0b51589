"""What every test may use."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def environ() -> dict[str, str]:
    """An environment for child interpreters: this tree importable, nothing of CAPRICCIO_* set."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("CAPRICCIO_", "PYTHON"))}
    return environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

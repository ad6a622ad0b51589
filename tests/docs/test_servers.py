"""What docs/servers.md names is there."""

from __future__ import annotations

import re

import capriccio_patch
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "servers.md").read_text()


def test_the_integrations_that_it_names_are_there() -> None:
    named = re.findall(r"capriccio_patch\.integrations\.(\w+)[.:]?(\w*)", TEXT)
    assert {module for module, _ in named} == {"gunicorn", "celery", "pytest_plugin"}
    for module, name in named:
        text = (ROOT / f"capriccio_patch/integrations/{module}.py").read_text()
        assert not name or f"class {name}(" in text


def test_the_functions_that_it_names_are_public() -> None:
    for name in re.findall(r"capriccio_patch\.(\w+)\(", TEXT):
        assert name in capriccio_patch.__all__

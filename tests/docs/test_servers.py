"""What docs/servers.md names is there."""

from __future__ import annotations

import re

import capriccio_patch
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "servers.md").read_text()


def test_the_integrations_that_it_names_are_there() -> None:
    named = re.findall(r"capriccio_patch\.integrations\.(\w+)[.:]?(\w*)", TEXT)
    assert {module for module, _ in named} == {"gunicorn", "celery"}
    for module, name in named:
        text = (ROOT / f"capriccio_patch/integrations/{module}.py").read_text()
        assert not name or f"class {name}(" in text


def test_the_plugin_that_it_names_is_there() -> None:
    assert "pytest -p capriccio_patch`" in TEXT
    (plugin,) = capriccio_patch.pytest_plugins
    assert (ROOT / plugin.replace(".", "/")).with_suffix(".py").exists()


def test_the_functions_that_it_names_are_public() -> None:
    for name in re.findall(r"capriccio_patch\.(\w+)\(", TEXT):
        assert name in capriccio_patch.__all__

"""The examples of docs/extending.md do what the text says."""

from __future__ import annotations

import re

from tests.conftest import ROOT, RunScript

TEXT = (ROOT / "docs" / "extending.md").read_text()
PROGRAM = """
import os, tempfile, threading
{scheme}
capriccio_patch.patch_all(diskio="counting")
assert capriccio_patch.status()["diskio"] == "counting"

def work():
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 10)
        file.seek(0)
        assert file.read() == b"x" * 10

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""


def test_the_scheme_for_files_runs(run_script: RunScript) -> None:
    [scheme] = [
        each for each in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "class" in each
    ]
    assert run_script(PROGRAM.replace("{scheme}", scheme)).stdout == "done\n"


def test_what_it_names_is_there() -> None:
    for path in re.findall(r"`((?:capriccio_patch|tests)/[a-z_/]+\.py)`", TEXT):
        assert (ROOT / path).is_file(), path

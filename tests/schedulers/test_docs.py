"""The worked example of the documentation is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "schedulers.md").read_text()

USE = """
import threading, time
ran = []
go = threading.Event()
def old():
    go.wait()
    ran.append("old")
def new():
    ran.append("new")
olds = [threading.Thread(target=old) for _ in range(3)]
for thread in olds:
    thread.start()
time.sleep(0.01)
import _thread
for _ in range(3):
    _thread.start_new_thread(new, ())    # waits for nobody, as Thread.start would
go.set()
for thread in olds:
    thread.join()
time.sleep(0.01)
print(ran, capriccio_patch.status()["scheduler"])
"""


@pytest.mark.one_processor
def test_the_worked_example(run_script: Any) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = run_script(example + USE)
    assert done.stdout == "['old', 'old', 'old', 'new', 'new', 'new'] old-first\n"

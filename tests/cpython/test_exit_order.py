"""Exit callbacks from before the patch."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

RunScript = Callable[..., "subprocess.CompletedProcess[str]"]


def test_callbacks_from_before_the_patch_run_under_it(run_script: RunScript) -> None:
    done = run_script(
        """
        import atexit, threading, time

        asked, answered = threading.Event(), threading.Event()

        def answer():
            asked.wait()
            answered.set()

        def early(name):
            asked.set()
            answered.wait()  # for a daemon thread, which is green
            print(name)

        atexit.register(early, "first")
        atexit.register(early, "second")
        import capriccio_patch
        capriccio_patch.patch_all()
        atexit.register(print, "third")
        threading.Thread(target=answer, daemon=True).start()
        """,
        timeout=20,
    )
    assert done.stdout.split() == ["third", "second", "first"]
    assert done.stderr == ""

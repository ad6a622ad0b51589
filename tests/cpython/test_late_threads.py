"""OS threads after the end of the main thread's code."""

from __future__ import annotations

from pathlib import Path

import pytest

from capriccio_patch.cpython import late_threads
from tests.conftest import RunScript


def test_calls_on_workers_overlap_after_the_end_of_main(
    run_script: RunScript, tmp_path: Path
) -> None:
    done = run_script(
        """
        import os, sys, threading
        import capriccio_patch

        capriccio_patch.patch_all()
        place = sys.argv[1]

        def meet(mine, other):
            threading.main_thread().join()
            wait = f"for i in `seq 500`; do test -e {other} && exit; sleep .02; done"
            os.system(f"cd {place}; touch {mine}; {wait}; echo alone")
            print(mine)
            meeting.remove(mine)

        def compute():
            while meeting:
                pass

        names = "abcde"
        meeting = set(names)
        threading.Thread(target=compute).start()
        for mine, other in zip(names, names[1:] + names[:1]):
            threading.Thread(target=meet, args=(mine, other)).start()
        """,
        str(tmp_path),
        timeout=30,
    )
    assert sorted(done.stdout.split()) == list("abcde"), done.stdout
    assert done.stderr == ""


def test_another_error_stays() -> None:
    error = RuntimeError("can't start new thread")
    with pytest.raises(RuntimeError) as raised:
        late_threads.start(lambda: None, error)
    assert raised.value is error

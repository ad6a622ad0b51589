"""Post-import hooks by wrapt, of which only a part is imported."""

from __future__ import annotations

import pytest

from tests.conftest import RunScript

_OURS = "import capriccio_patch; capriccio_patch.patch_all()"
_PROGRAM_S = "import wrapt; wrapt.register_post_import_hook(seen.append, 'queue')"


def test_a_start_imports_nothing_that_the_rest_of_wrapt_needs(run_script: RunScript) -> None:
    run_script(
        """
        import sys
        import capriccio_patch
        from capriccio_patch.cpython import modules
        capriccio_patch.patch_all()
        imported = {*sys.modules, *modules._aside}
        assert not imported & {"wrapt", "asyncio", "inspect", "ast", "dis", "importlib.metadata"}
        """
    )


@pytest.mark.parametrize(("first", "then"), [(_OURS, _PROGRAM_S), (_PROGRAM_S, _OURS)])
def test_the_program_s_hooks_and_ours_see_the_same_import(
    run_script: RunScript, first: str, then: str
) -> None:
    run_script(
        f"""
        import sys
        seen = []
        {first}
        {then}
        assert "queue" not in sys.modules
        assert not seen
        import queue
        assert seen == [queue]
        assert type(queue.__loader__) is type(queue.__spec__.loader)
        assert "queue.Queue.put" in capriccio_patch.status()["how"]
        """
    )


def test_the_loader_of_a_module_with_a_hook_stands_for_its_own(run_script: RunScript) -> None:
    run_script(
        """
        import importlib.util
        from importlib.machinery import SourceFileLoader
        import capriccio_patch
        before = importlib.util.find_spec("queue")
        capriccio_patch.patch_all()
        after = importlib.util.find_spec("queue")
        assert type(after.loader) is not type(before.loader) is SourceFileLoader
        assert isinstance(after.loader, SourceFileLoader)
        assert after == before == importlib.util.find_spec("queue") == after
        assert hash(after.loader) == hash(before.loader)
        assert after.loader.get_source("queue") == before.loader.get_source("queue")
        after.loader.mark = 1
        module = importlib.util.module_from_spec(after)
        after.loader.exec_module(module)
        assert type(module.__loader__) is SourceFileLoader
        assert module.__loader__.mark == 1
        assert module.__spec__.loader is module.__loader__
        """
    )


def test_the_program_s_wrapt_is_whole(run_script: RunScript) -> None:
    run_script(
        """
        import capriccio_patch
        capriccio_patch.patch_all()
        import wrapt
        assert wrapt.ObjectProxy.__module__.startswith("wrapt")

        @wrapt.decorator
        def twice(wrapped, instance, args, kwargs):
            return 2 * wrapped(*args, **kwargs)

        assert twice(lambda: 21)() == 42
        """
    )


def test_each_patch_asks_anew_and_wrapt_keeps_one_hook(run_script: RunScript) -> None:
    run_script(
        """
        import sys
        import capriccio_patch
        from capriccio_patch.patching import post_import
        waiting = sys.modules[post_import.when_imported.__module__]._post_import_hooks
        for _ in range(3):
            capriccio_patch.patch_all()
            assert all(len(calls) == 1 for calls in waiting.values()), waiting
            capriccio_patch.unpatch_all()
        assert {*waiting} >= {"queue", "psycopg2._psycopg", "gevent.monkey"}

        seen = []
        def call(name, module):
            seen.append((name, module))
        for _ in range(2):
            post_import.hook_import(call, "queue")
        assert seen == []
        import queue
        assert seen == [("queue", queue)]
        post_import.hook_import(call, "queue")
        assert seen == [("queue", queue)] * 2
        """
    )

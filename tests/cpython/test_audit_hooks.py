"""Whether there are audit hooks is known without a hook's being asked."""

from __future__ import annotations

from tests.conftest import RunScript


def test_whether_there_are_audit_hooks(run_script: RunScript) -> None:
    script = """
    import sys
    from capriccio_patch.cpython.audit_hooks import is_audited
    before = is_audited(), is_audited()
    seen = []
    sys.addaudithook(lambda event, args: seen.append(event))
    print(before, is_audited(), is_audited())
    print(set(seen) - {"ctypes.call_function"})
    """
    assert run_script(script).stdout == "(False, False) True True\nset()\n"

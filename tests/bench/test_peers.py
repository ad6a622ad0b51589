"""The benchmark against other runtimes: what it reads, computes and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from capriccio_patch.bench import peer_cases, peer_results, peer_runs
from capriccio_patch.bench.compare import compare
from capriccio_patch.bench.service import Service


def result(**cases: dict[str, list[float]]) -> dict[str, Any]:
    return {"format": peer_results.FORMAT, "rounds": 3, "cases": cases}


def case(name: str) -> peer_cases.Case:
    return next(each for each in peer_cases.CASES if each.name == name)


@pytest.mark.wall_clock
def test_a_run_is_kept_and_can_be_compared_with_itself(bench: Any, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    args = ("lock", "--quick", "--rounds=1", "--runtimes=capriccio,stock", f"--json={kept}")
    done = bench("peers", *args)
    values = json.loads(kept.read_text())["cases"]["lock"]
    assert set(values) == {"capriccio", "stock"}
    assert all(len(rounds) == 1 and 1e-8 < rounds[0] < 1e-4 for rounds in values.values())
    assert "with lock, uncontended" in done.stdout
    done = bench("compare", str(kept), str(kept))
    assert "| 1.00 | 1.00 | 1.00 |" in done.stdout


@pytest.mark.wall_clock
def test_a_server_is_measured_from_outside(bench: Any, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    args = ("echo_50", "--quick", "--rounds=1", "--runtimes=capriccio", f"--json={kept}")
    bench("peers", *args)
    (spent,) = json.loads(kept.read_text())["cases"]["echo_50"]["capriccio"]
    assert 1e-6 < spent < 1e-3


@pytest.mark.parametrize("kind", ["tls", "http_each", "paper"])
def test_a_server_answers_its_load(kind: str, no_children: None) -> None:
    with Service("capriccio", kind, 3) as service:
        service.open(0.01)
        assert 1e-6 < service.turn() < 1e-1


@pytest.mark.parametrize(
    "names", [["yields_2", "contended", "pipe"], ["os_read", "file_read", "read_whole_16"]]
)
def test_a_program_measures_its_cases(names: list[str]) -> None:
    for each in peer_cases.selected(names, quick=True):
        values = peer_runs.measure_run(each.run, ["capriccio"], 1, 0.001, failed=pytest.fail)
        ((took,),) = values[each.key].values()
        assert 1e-9 < took < 1


def test_a_long_case_is_quick_only_if_it_is_named() -> None:
    names = [each.name for each in peer_cases.selected(["paper"], quick=True)]
    assert names == ["paper_1000"]
    (long,) = peer_cases.selected(["paper_15000"], quick=True)
    assert long.full_only


def test_a_ratio_is_that_of_the_same_round() -> None:
    values = {"capriccio": [1.0, 10.0, 3.0], "stock": [2.0, 20.0, 2.0]}
    text, met = peer_results.verdict(case("lock"), peer_cases.Target("stock", 0.5), values) or (
        "",
        0,
    )
    assert met
    assert text.startswith("0.50 ")


def test_a_bound_may_be_set_by_no_peer() -> None:
    parked = case("parked_100000_bytes")
    for taken, met in ((parked.most, True), (parked.most + 1, False)):
        told = peer_results.verdicts(parked, {"capriccio": [taken]})
        assert told == [(f"at most {parked.most:,} B", met)]


def test_more_may_be_better() -> None:
    target = peer_cases.Target("gevent", 2.0)
    values = {"capriccio": [3.0], "gevent": [2.0]}
    assert peer_results.verdict(case("parked_100000_wake"), target, values) == (
        "1.50 [1.50-1.50] of gevent, at least 2.00",
        False,
    )


def test_a_peer_without_values_has_no_verdict() -> None:
    target = peer_cases.Target("gevent", 2.0)
    assert peer_results.verdict(case("lock"), target, {"capriccio": [1.0]}) is None


def test_two_runs_are_compared_by_what_the_peers_took() -> None:
    before = result(lock={"capriccio": [1e-7], "stock": [1e-7]})
    after = result(lock={"capriccio": [3e-7], "stock": [2e-7]})
    assert compare(before, after)[-1].endswith("| 3.00 | 2.00 | 1.50 |")


def test_two_runs_without_a_common_case_are_refused() -> None:
    lock = result(lock={"capriccio": [1.0]})
    with pytest.raises(peer_results.ResultError):
        compare(lock, result(rlock={"capriccio": [1.0]}))


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        '{"format": "another"}',
        json.dumps({"format": peer_results.FORMAT, "cases": []}),
        json.dumps({"format": peer_results.FORMAT, "cases": {"lock": {"stock": []}}}),
        json.dumps({"format": peer_results.FORMAT, "cases": {"lock": {"stock": ["1"]}}}),
    ],
)
def test_a_file_that_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(peer_results.ResultError, match=r"file\.json"):
        peer_results.load(str(path))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(peer_results.ResultError, match="No such file"):
        peer_results.load(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    "args", [["nonsense"], ["--rounds=0"], ["--runtimes=nobody"], ["--json=/no/such/folder/x"]]
)
def test_bad_arguments_are_refused(bench: Any, args: list[str]) -> None:
    done = bench("peers", *args, status=2)
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_every_target_names_a_runtime_that_is_measured() -> None:
    for each in peer_cases.CASES:
        for target in each.targets:
            assert target.peer in each.run.runtimes, each.name

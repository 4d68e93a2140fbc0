import sys
from pathlib import Path

import pytest

from benchmarks.environments import Environment, UnavailableError, find_python
from benchmarks.measuring import Result
from benchmarks.runs import RunFailedError, Way, interleave, run_now


def test_ways_run_in_turn_and_a_missing_one_is_left_out_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def python(self: Environment) -> Path:
        raise UnavailableError("no Python >= 3.12")

    monkeypatch.setattr(Environment, "python", python)
    order: list[str] = []

    def run_one(way: Way) -> Result:
        order.append(way.name)
        return {"messages": 1}

    ways = [Way("a", "m"), Way("b", "m"), Way("c", "m", environment=Environment("x", ()))]
    measured = interleave(ways, 2, run_one)
    assert order == ["a", "b", "a", "b"]
    assert [set(one) for one in measured.rounds] == [{"a", "b"}] * 2
    assert measured.skipped == {"c": "no Python >= 3.12"}


def test_a_way_that_fails_is_left_out_of_all_rounds() -> None:
    failing = iter([False, True])

    def run_one(way: Way) -> Result:
        if way.name == "a" and next(failing):
            raise RunFailedError("exit 1")
        return {"messages": 1}

    measured = interleave([Way("a", "m"), Way("b", "m")], 3, run_one)
    assert [set(one) for one in measured.rounds] == [{"b"}] * 3
    assert measured.skipped == {"a": "its run failed"}


@pytest.mark.process
def test_a_process_that_tells_no_result_is_an_error_that_names_it() -> None:
    with pytest.raises(RunFailedError, match=r"odd.*no result"):
        run_now(Way("odd", "this"))  # prints a poem
    with pytest.raises(RunFailedError, match="No module named"):
        run_now(Way("missing", "benchmarks.missing"))


@pytest.mark.process
def test_a_python_that_is_new_enough_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_PYTHON", sys.executable)
    assert find_python((3, 11)) == Path(sys.executable)
    with pytest.raises(UnavailableError, match=r"no Python >= 9\.9"):
        find_python((9, 9))

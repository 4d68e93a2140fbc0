import pytest

from benchmarks.report import (
    Bar,
    Spread,
    Table,
    apart,
    bars_table,
    cpu_us_per_message,
    messages_per_s,
    of,
    paired,
    spread,
)

ROUNDS = [
    {"ours": {"cpu_us": 10.0}, "theirs": {"cpu_us": 20.0}},
    {"ours": {"cpu_us": 40.0}, "theirs": {"cpu_us": 40.0}},  # both were slowed down
    {"ours": {"cpu_us": 12.0}, "theirs": {"cpu_us": 20.0}},
]


def cpu(result: dict[str, float]) -> float:
    return result["cpu_us"]


def test_a_spread_is_the_median_with_both_ends() -> None:
    assert spread([3, 1, 2]) == Spread(2, 1, 3)
    assert of(ROUNDS, "ours", cpu) == Spread(12, 10, 40)


def test_ratios_and_differences_are_taken_within_a_round() -> None:
    assert paired(ROUNDS, "ours", "theirs", cpu) == Spread(0.6, 0.5, 1.0)
    assert apart(ROUNDS, "ours", "theirs", cpu) == Spread(-8, -10, 0)


def test_figures_are_per_message() -> None:
    result = {"messages": 50, "wall_s": 2.0, "cpu_us": 100.0}
    assert cpu_us_per_message(result) == 2
    assert messages_per_s(result) == 25


@pytest.mark.parametrize(
    ("kind", "limit", "verdict"),
    [
        ("at most", 2, "met"),
        ("at most", 1.9, "missed"),
        ("at least", 2, "met"),
        ("at least", 2.1, "missed"),
    ],
)
def test_a_bar_is_judged_by_the_median(kind: str, limit: float, verdict: str) -> None:
    bar = Bar("claim", kind, limit, Spread(2, 0, 9))  # type: ignore[arg-type]
    assert bar.verdict == verdict


def test_a_bar_that_was_not_measured_is_not_called_met() -> None:
    bar = Bar("claim", "at most", 1, None, "no Python >= 3.12")
    assert bar.row() == ["claim", "at most 1", "no Python >= 3.12", "not measured"]


def test_tables_are_markdown() -> None:
    assert Table(["a", "b"], [["x", "1"]]).markdown() == "| a | b |\n|---|--:|\n| x | 1 |"
    assert bars_table([Bar("claim", "at most", 1, Spread(0.5, 0, 1))]).rows == [
        ["claim", "at most 1", "0.500 (0.000-1.000)", "met"]
    ]

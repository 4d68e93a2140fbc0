"""An empty queue for ten seconds: the requests begun, and the CPU used.

Polls that were open before count when they are made anew: the third column is what those open at
the end come to in a minute, by how long they wait.
"""

from __future__ import annotations

from benchmarks.measuring import Result
from benchmarks.report import Bar, Section, Table, of, of_ran
from benchmarks.runs import Measured, Plan, interleave
from benchmarks.suites.sqs import (
    NEWER,
    OURS,
    RAW,
    SQS,
    TASKIQ,
    TASKIQ_TUNED,
    TOMODACHI,
    at_stub,
    polls_per_minute,
    requests,
    way,
)

SECONDS = 10


def measure(plan: Plan) -> Measured:
    """Run all ways; three rounds do. Nobody is disturbed by what does nothing."""
    ways = [
        way(OURS, "ours", "idle", SQS, SECONDS),
        way(RAW, "raw", "idle", SQS, SECONDS),
        way("fanferro (newer Python)", "fanferro", "idle", NEWER, SECONDS),
        way(TASKIQ_TUNED, "taskiq", "idle", TASKIQ, SECONDS, "tuned"),
        way("tomodachi", "tomodachi", "idle", TOMODACHI, SECONDS),
    ]
    return interleave(ways, min(plan.runs, 3), at_stub(alone=False))


def report(measured: Measured) -> Section:
    """Return the table and the limit."""
    rounds = measured.rounds
    rows = [
        [
            name,
            of(rounds, name, requests).text(),
            of(rounds, name, polls_per_minute).text(),
            of(rounds, name, cpu_ms_per_s).text(".2f"),
        ]
        for name in rounds[0]
    ]
    headings = ["", "requests in 10 s", "open polls, a minute", "CPU, ms per s"]
    found = of_ran(rounds, OURS, requests)
    return Section(
        "SQS: idle",
        __doc__ or "",
        [Table(headings, rows)],
        bars=[Bar("idle: requests between polls", "at most", 0, found)],
    )


def cpu_ms_per_s(result: Result) -> float:
    """Return the CPU milliseconds per second."""
    return float(result["cpu_us"]) / 1000 / float(result["wall_s"])

"""A calm queue: 100 messages a second, one at a time, at no latency.

Counted are the consumer's requests, which SQS bills, and the time from the send to the handler.
"""

from __future__ import annotations

from benchmarks.measuring import Result
from benchmarks.report import Bar, Plot, Section, Table, of, of_ran
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
    requests_beside_sends,
    way,
)

LONGEST = 300
"""Messages at most: three seconds."""


def measure(plan: Plan) -> Measured:
    """Run all ways."""
    count = min(plan.count, LONGEST)
    ways = [
        way(OURS, "ours", "trickle", SQS, count),
        way(RAW, "raw", "trickle", SQS, count),
        way("fanferro (newer Python)", "fanferro", "trickle", NEWER, count),
        way(TASKIQ_TUNED, "taskiq", "trickle", TASKIQ, count, "tuned"),
        way("tomodachi", "tomodachi", "trickle", TOMODACHI, count),
    ]
    return interleave(ways, plan.runs, at_stub())


def report(measured: Measured) -> Section:
    """Return the table, the plot and the limit."""
    rounds = measured.rounds
    names = list(rounds[0])
    rows = [
        [
            name,
            of(rounds, name, requests_beside_sends).text(".2f"),
            of(rounds, name, delay_ms).text(".1f"),
        ]
        for name in names
    ]
    plot = Plot(
        "trickle_requests",
        "A calm queue: the consumer's requests per message",
        "requests (median, smallest to largest)",
        [(name, of(rounds, name, requests_beside_sends)) for name in names],
    )
    found = of_ran(rounds, OURS, requests_beside_sends)
    return Section(
        "SQS: a trickle",
        __doc__ or "",
        [Table(["", "requests per message", "ms from send to handler"], rows)],
        [plot],
        [Bar("trickle: the consumer's requests per message", "at most", 1.2, found)],
    )


def delay_ms(result: Result) -> float:
    """Return the median time from send to handler, in milliseconds."""
    return float(result["delay_s"]) * 1000

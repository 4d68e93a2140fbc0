"""SQS as far away as it is: every answer takes 10 ms.

The rate depends on the requests in flight. The batch loop has 4 to send and 4 polls, each of which
handles its ten messages and deletes them before it asks again. Beside it stands this library with
no more than 4 polls at a time, 100 handlers, and 256 callers who each await their send. By itself
it takes 8 requests in flight to send and up to 10 polls; the batch loop is shown with as many. With
40 handlers it has no more messages in hand than the batch loop with 4 polls: since a slot is free
again only when its ack is confirmed, there is little to gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.measuring import Result
from benchmarks.report import (
    Bar,
    Plot,
    Section,
    Table,
    apart,
    compared,
    compared_text,
    messages_per_s,
    of,
    ran,
)
from benchmarks.runs import Measured, Plan, Round, Way, interleave
from benchmarks.suites.sqs import (
    NEWER,
    OURS,
    RAW,
    SQS,
    TASKIQ,
    TASKIQ_TUNED,
    at_stub,
    part,
    way,
)

LATENCY_MS = 10
FREE = "mqtransport, 10 polls"
NARROW = "mqtransport, 40 handlers"
RAW_WIDE = "aiobotocore, batch loop, 8 in flight, 10 polls"
LONE = "mqtransport, a lone send"
RAW_LONE = "aiobotocore, a lone send_message"
FANFERRO = "fanferro (newer Python)"


def ways(count: int) -> list[Way]:
    """Return all ways."""
    full = "full_queue"
    some, few = max(count * 3 // 5, 100), max(count // 25, 50)
    return [
        way(OURS, "ours", full, SQS, some, concurrency=100, callers=256, pollers=4),
        way(RAW, "raw", full, SQS, some, callers=4, pollers=4),
        way(FREE, "ours", full, SQS, some, concurrency=100, callers=256),
        way(NARROW, "ours", full, SQS, some, concurrency=40, callers=256),
        way(RAW_WIDE, "raw", full, SQS, some, callers=8, pollers=10),
        way(FANFERRO, "fanferro", full, NEWER, some, concurrency=100, callers=256, pollers=4),
        way(TASKIQ_TUNED, "taskiq", full, TASKIQ, few * 5, "tuned", concurrency=100, callers=256),
        way(LONE, "ours", "lone", SQS, few),
        way(RAW_LONE, "raw", "lone", SQS, few),
    ]


def measure(plan: Plan) -> Measured:
    """Run all ways."""
    return interleave(ways(plan.count), plan.runs, at_stub(latency_ms=LATENCY_MS))


def report(measured: Measured) -> Section:
    """Return the tables, the plot and the limits."""
    rounds = measured.rounds
    names = [name for name in rounds[0] if "lone" not in name]
    produced, consumed = part("produce", messages_per_s), part("consume", messages_per_s)
    table = Table(
        ["", "sent/s", "of the batch loop", "consumed/s", "of the batch loop"],
        [
            [
                name,
                of(rounds, name, produced).text(),
                compared_text(rounds, name, RAW, produced),
                of(rounds, name, consumed).text(),
                compared_text(rounds, name, RAW, consumed),
            ]
            for name in names
        ],
    )
    waited = [name for name in (LONE, RAW_LONE) if ran(rounds, name)]
    lone = Table(
        ["", "ms until it is confirmed"],
        [[name, of(rounds, name, wait_ms).text(".2f")] for name in waited],
    )
    plot = Plot(
        "latency_consume",
        "Consumed at 10 ms latency",
        "messages per second (median, smallest to largest)",
        [(name, of(rounds, name, consumed)) for name in names],
    )
    return Section("SQS at 10 ms", __doc__ or "", [table, lone], [plot], bars(rounds))


def bars(rounds: Sequence[Round]) -> list[Bar]:
    """Return the limits that this suite covers."""

    def times(claim: str, half: str, one: str, other: str) -> Bar:
        figure: Callable[[Result], float] = part(half, messages_per_s)
        return Bar(claim, "at least", 1.7, compared(rounds, one, other, figure))

    lone = apart(rounds, LONE, RAW_LONE, wait_ms) if ran(rounds, LONE, RAW_LONE) else None
    return [
        times(
            "10 ms, produce: messages/s, ours (8 in flight) / batch loop (4)", "produce", OURS, RAW
        ),
        times("the same, 8 in flight each", "produce", OURS, RAW_WIDE),
        times("10 ms, consume: messages/s, ours / batch loop, 4 polls each", "consume", OURS, RAW),
        times("the same, 10 polls each", "consume", FREE, RAW_WIDE),
        Bar("10 ms: a lone send, ms more than aiobotocore's", "at most", 1.0, lone),
    ]


def wait_ms(result: Result) -> float:
    """Return what a lone caller waits, in milliseconds."""
    return float(result["wait_s"]) * 1000

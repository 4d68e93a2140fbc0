"""Queues within one process, from a model to its handler: 100 callers, each send awaited.

``asyncio.Queue`` is the floor: one producer that puts JSON texts into it, and 10 tasks that take
from it; no leases, no retries, nothing to settle. taskiq's in-memory broker has no queue either: it
starts a task per message. fanferro's needs Python 3.12, so it is beside ours on that Python.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.environments import Environment
from benchmarks.report import (
    Bar,
    Plot,
    Section,
    Spread,
    Table,
    compared,
    compared_text,
    cpu_us_per_message,
    messages_per_s,
    of,
)
from benchmarks.runs import Measured, Plan, Round, Way, interleave

_OURS = ("pydantic==2.14.4", "pydantic-settings==2.16.3", "uvloop==0.23.0")
HERE = Environment("memory", ("taskiq==0.13.0", *_OURS))
NEWER = Environment("memory-newer", ("fanferro==0.5.0", *_OURS), newer=(3, 12))

OURS = "mqtransport, 10 handlers"
WIDE = "mqtransport, 100 handlers"
QUEUE = "asyncio.Queue, 10 tasks"
TASKIQ = "taskiq, InMemoryBroker"
OURS_NEWER = "mqtransport, 10 handlers (newer Python)"
QUEUE_NEWER = "asyncio.Queue, 10 tasks (newer Python)"
FANFERRO = "fanferro, memory broker (newer Python)"

MESSAGES = 4
"""So many times the messages of other suites: each costs a small part of what it costs on SQS."""


def ways(count: int) -> list[Way]:
    """Return all ways."""

    def way(name: str, kind: str, environment: Environment, concurrency: int = 10) -> Way:
        arguments = (kind, str(count), str(concurrency))
        return Way(name, "benchmarks.peers.memory", arguments, environment)

    return [
        way(QUEUE, "bare_queue", HERE),
        way(OURS, "mqtransport", HERE),
        way(WIDE, "mqtransport", HERE, concurrency=100),
        way(TASKIQ, "taskiq", HERE),
        way(QUEUE_NEWER, "bare_queue", NEWER),
        way(OURS_NEWER, "mqtransport", NEWER),
        way(FANFERRO, "fanferro", NEWER),
    ]


def measure(plan: Plan) -> Measured:
    """Run all ways."""
    return interleave(ways(plan.count * MESSAGES), plan.runs)


def report(measured: Measured) -> Section:
    """Return the table, the plot and the limits."""
    rounds = measured.rounds
    names = list(rounds[0])
    return Section(
        "In memory",
        __doc__ or "",
        tables=[_table(rounds, names)],
        plots=[
            Plot(
                "memory_cpu",
                "In memory: CPU per message, sent, handled and settled",
                "microseconds (median, smallest to largest)",
                [(name, of(rounds, name, cpu_us_per_message)) for name in names],
            )
        ],
        bars=bars(rounds),
    )


def bars(rounds: Sequence[Round]) -> list[Bar]:
    """Return the limits that this suite covers."""

    def ratio(one: str, other: str) -> Spread | None:
        return compared(rounds, one, other, cpu_us_per_message)

    return [
        Bar("in memory: CPU, ours / asyncio.Queue", "at most", 3, ratio(OURS, QUEUE)),
        Bar("the same, 100 handlers", "at most", 3, ratio(WIDE, QUEUE)),
        Bar("in memory: CPU, taskiq / ours", "at least", 3.5, ratio(TASKIQ, OURS)),
    ]


def _table(rounds: Sequence[Round], names: Sequence[str]) -> Table:
    rows = []
    for name in names:
        floor = QUEUE_NEWER if "newer" in name else QUEUE
        rows.append(
            [
                name,
                of(rounds, name, messages_per_s).text(),
                of(rounds, name, cpu_us_per_message).text(".1f"),
                compared_text(rounds, name, floor, cpu_us_per_message),
                f"{of(rounds, name, lambda one: one['peak_bytes'] / 2**20).median:.0f}",
            ]
        )
    return Table(["", "messages/s", "CPU us", "of the bare queue", "peak MiB"], rows)

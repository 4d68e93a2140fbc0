"""A full queue at no latency: what sending and consuming cost beside the peers."""

from __future__ import annotations

from collections.abc import Sequence

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
    of_ran,
)
from benchmarks.runs import Measured, Plan, Round, Way, interleave
from benchmarks.suites.sqs import (
    KOMBU,
    NEWER,
    OURS,
    RAW,
    SINGLE,
    SLOW,
    SQS,
    TASKIQ,
    TASKIQ_TUNED,
    TOMODACHI,
    TUNED,
    at_stub,
    part,
    peak_mib,
    requests_to_send,
    total_cpu_us,
    total_requests,
    way,
)

WIDE = "mqtransport, 100 handlers"
FEW = "mqtransport, 20 callers"
AHEAD = "mqtransport, 10 fetched ahead"
SLOW_WIDE = "mqtransport, without fast path, 100 handlers"
OURS_NEWER = "mqtransport (newer Python)"
WIDE_NEWER = "mqtransport, 100 handlers (newer Python)"
AHEAD_NEWER = "mqtransport, 10 fetched ahead (newer Python)"
RAW_NEWER = "aiobotocore, batch loop (newer Python)"
FANFERRO = "fanferro, send (newer Python)"
FANFERRO_BATCHES = "fanferro, send_batch (newer Python)"
TASKIQ_DEFAULT = "taskiq-aio-sqs"


def ways(count: int) -> list[Way]:
    """Return all ways; slow ones do with a fifth of the messages: each costs what it costs."""
    fewer = max(count // 5, 100)
    full = "full_queue"
    return [
        way(OURS, "ours", full, SQS, count),
        way(WIDE, "ours", full, SQS, count, concurrency=100),
        way(AHEAD, "ours", full, SQS, count, prefetch=10),
        way(FEW, "ours", full, SQS, count, callers=20),
        way(SLOW, "ours", full, SQS, count, "slow_path"),
        way(SLOW_WIDE, "ours", full, SQS, count, "slow_path", concurrency=100),
        way(RAW, "raw", full, SQS, count, callers=4),
        way(TUNED, "raw", full, SQS, count, "tuned", callers=4),
        way(SINGLE, "raw", full, SQS, fewer, "single", callers=10),
        way(OURS_NEWER, "ours", full, NEWER, count),
        way(WIDE_NEWER, "ours", full, NEWER, count, concurrency=100),
        way(AHEAD_NEWER, "ours", full, NEWER, count, prefetch=10),
        way(RAW_NEWER, "raw", full, NEWER, count, callers=4),
        way(FANFERRO, "fanferro", full, NEWER, count),
        way(FANFERRO_BATCHES, "fanferro", full, NEWER, count, "batches"),
        way(TASKIQ_TUNED, "taskiq", full, TASKIQ, fewer, "tuned"),
        way(TASKIQ_DEFAULT, "taskiq", full, TASKIQ, fewer),
        way("tomodachi", "tomodachi", full, TOMODACHI, fewer),
        way("kombu", "kombu", full, KOMBU, fewer),
    ]


def measure(plan: Plan) -> Measured:
    """Run all ways."""
    return interleave(ways(plan.count), plan.runs, at_stub())


def report(measured: Measured) -> Section:
    """Return the table, the plots and the limits."""
    rounds = measured.rounds
    names = list(rounds[0])
    return Section(
        "SQS: a full queue",
        __doc__ or "",
        tables=[_table(rounds, names)],
        plots=[
            Plot(
                "full_queue_cpu",
                "CPU per message, sent, received and deleted",
                "microseconds (median, smallest to largest)",
                [(name, of(rounds, name, total_cpu_us)) for name in names],
            ),
            Plot(
                "full_queue_requests",
                "API requests per message: what SQS bills",
                "requests",
                [(name, of(rounds, name, total_requests)) for name in names],
            ),
        ],
        bars=bars(rounds),
    )


def bars(rounds: Sequence[Round]) -> list[Bar]:
    """Return the limits that this suite covers."""

    def ratio(one: str, other: str) -> Spread | None:
        return compared(rounds, one, other, total_cpu_us)

    return [
        Bar("CPU, ours / aiobotocore batch loop", "at most", 0.45, ratio(OURS, RAW)),
        Bar("the same, 100 handlers", "at most", 0.45, ratio(WIDE, RAW)),
        Bar("the same, without the fast path", "at most", 0.95, ratio(SLOW, RAW)),
        Bar("the same, 100 handlers", "at most", 0.95, ratio(SLOW_WIDE, RAW)),
        Bar("CPU, ours / fanferro send_batch", "at most", 1.0, ratio(OURS_NEWER, FANFERRO_BATCHES)),
        Bar("the same, 10 fetched ahead", "at most", 1.0, ratio(AHEAD_NEWER, FANFERRO_BATCHES)),
        Bar("the same, 100 handlers", "at most", 1.0, ratio(WIDE_NEWER, FANFERRO_BATCHES)),
        Bar("CPU, ours / fanferro send", "at most", 0.5, ratio(OURS_NEWER, FANFERRO)),
        Bar("the same, 100 handlers", "at most", 0.5, ratio(WIDE_NEWER, FANFERRO)),
        Bar("CPU, taskiq-aio-sqs tuned / ours", "at least", 10, ratio(TASKIQ_TUNED, OURS)),
        Bar("requests per message in all", "at most", 0.31, of_ran(rounds, OURS, total_requests)),
        Bar(
            "sends per message, 20 callers",
            "at most",
            0.15,
            of_ran(rounds, FEW, part("produce", requests_to_send)),
        ),
    ]


def _table(rounds: Sequence[Round], names: Sequence[str]) -> Table:
    rows = []
    for name in names:
        raw = RAW_NEWER if "newer" in name else RAW
        rows.append(
            [
                name,
                *(
                    of(rounds, name, part(half, figure)).text()
                    for half in ("produce", "consume")
                    for figure in (messages_per_s, cpu_us_per_message)
                ),
                of(rounds, name, total_cpu_us).text(),
                compared_text(rounds, name, raw, total_cpu_us),
                f"{of(rounds, name, total_requests).median:.2f}",
                f"{of(rounds, name, peak_mib).median:.0f}",
            ]
        )
    headings = [
        "",
        "sent/s",
        "CPU us to send",
        "consumed/s",
        "CPU us to consume",
        "CPU us in all",
        "of the batch loop",
        "requests",
        "peak MiB",
    ]
    return Table(headings, rows)

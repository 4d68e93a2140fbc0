"""What the suites on SQS share: environments, ways, figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks.environments import TOOLS, Environment
from benchmarks.measuring import Result
from benchmarks.runs import Runner, Way, run, run_now
from benchmarks.stub_control import started

_AIOBOTOCORE = ("aiobotocore==3.10.0", "aiohttp==3.14.5")
_COMMON = ("pydantic==2.14.4", "uvloop==0.23.0")
_OURS = ("pydantic-settings==2.16.3",)

SQS = Environment("sqs", (*_AIOBOTOCORE, *_COMMON, *_OURS))
"""Ours and aiobotocore by hand: the same aiobotocore for both, on the project's oldest Python."""

NEWER = Environment(
    "sqs-newer", ("fanferro==0.5.0", *_AIOBOTOCORE, *_COMMON, *_OURS), newer=(3, 12)
)
"""fanferro, and both of the above beside it, on the same Python."""

TASKIQ = Environment("taskiq", ("taskiq==0.13.0", "taskiq-aio-sqs==2.1.1", *_COMMON))
TOMODACHI = Environment("tomodachi", ("tomodachi==0.29.0", *_COMMON))
KOMBU = Environment("kombu", ("kombu[sqs]==5.7.0", "pydantic==2.14.4"))

OURS = "mqtransport"
SLOW = "mqtransport, without fast path"
RAW = "aiobotocore, batch loop"
TUNED = "aiobotocore, batch loop, tuned"
SINGLE = "aiobotocore, one by one"
TASKIQ_TUNED = "taskiq-aio-sqs, ten a receive, 20 s polls"


def way(
    name: str,
    client: str,
    measurement: str,
    environment: Environment,
    count: int,
    variant: str | None = None,
    **options: int | None,
) -> Way:
    """Return a way of one client.

    Args:
        name: its name in the tables.
        client: which client: its module is ``benchmarks.peers.sqs_CLIENT``.
        measurement: what is done with it, see :mod:`benchmarks.peers.sqs_driving`.
        environment: where it is installed.
        count: messages.
        variant: which of its variants, if not the usual one.
        options: ``callers``, ``concurrency``, ``pollers``, ``prefetch``.
    """
    arguments = [measurement, "--count", str(count)]
    if variant is not None:
        arguments += ["--variant", variant]
    for option, value in options.items():
        if value is not None:
            arguments += [f"--{option}", str(value)]
    return Way(name, f"benchmarks.peers.sqs_{client}", tuple(arguments), environment)


def at_stub(*, latency_ms: float = 0, tls: bool = False, alone: bool = True) -> Runner:
    """Return how to run a way at a stub of its own.

    Args:
        latency_ms: how long every answer takes.
        tls: over HTTPS.
        alone: whether no other benchmark may run at the time.
    """
    python = TOOLS.python()
    run_way = run if alone else run_now

    def run_one(one: Way) -> Result:
        with started(python, latency_ms=latency_ms, tls=tls) as variables:
            return run_way(replace(one, variables={**one.variables, **variables}))

    return run_one


# -- figures ----------------------------------------------------------------------------------


def part(name: str, figure: Callable[[Result], float]) -> Callable[[Result], float]:
    """Return a figure of one half of a full queue's result, ``produce`` or ``consume``."""
    return lambda result: figure(result[name])


def total_cpu_us(result: Result) -> float:
    """Return the CPU microseconds per message, produced and consumed."""
    both = (result["produce"], result["consume"])
    return sum(float(one["cpu_us"]) / float(one["messages"]) for one in both)


def total_requests(result: Result) -> float:
    """Return the requests per message, produced and consumed."""
    consumed = result["consume"]
    return requests_to_send(result["produce"]) + requests(consumed) / float(consumed["messages"])


def requests_to_send(result: Result) -> float:
    """Return the requests per message while sending; an idle consumer's polls are not counted."""
    return _without(result, ("ReceiveMessage",)) / float(result["messages"])


def requests_beside_sends(result: Result) -> float:
    """Return the requests per message that are no sends."""
    return _without(result, ("SendMessage", "SendMessageBatch")) / float(result["messages"])


def requests(result: Result) -> float:
    """Return all requests."""
    return _without(result, ())


def polls_per_minute(result: Result) -> float:
    """Return how often the polls that are open on an empty queue are made anew."""
    return float(sum(60 / wait_s for wait_s in result["waits_s"]))


def _without(result: Result, left_out: tuple[str, ...]) -> float:
    made = result["requests"]
    return float(sum(made[one] for one in made if one not in left_out))


def peak_mib(result: Result) -> float:
    """Return the peak memory of the process in MiB."""
    return float(result["peak_bytes"]) / 2**20

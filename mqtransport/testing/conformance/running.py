"""Turns async cases into plain tests, and runs them from a program."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mqtransport.broker import QueueOptions
from mqtransport.errors import UsageError
from mqtransport.testing.conformance.bench import Bench
from mqtransport.testing.conformance.checks import CaseSkipped, claim
from mqtransport.testing.harness import BrokerHarness

Case = Callable[[Any, Bench], Awaitable[None]]


CaseTest = Callable[[Any, BrokerHarness], None]
"""A case as pytest sees it: a method that takes the ``harness`` fixture."""


def case(function: Case) -> CaseTest:
    """Make a synchronous test out of an async case, with a fresh broker, queue and loop."""

    def test(self: Any, harness: BrokerHarness) -> None:
        try:
            run_case(type(self), name, harness)
        except CaseSkipped as skipped:
            # Imported here: applications that use the rest of this package may have no pytest.
            import pytest

            pytest.skip(str(skipped))

    name: str = function.__name__
    # Not functools.wraps: pytest would look through it and see the case's own argument.
    test.__name__ = name
    test.__qualname__ = function.__qualname__
    test.__doc__ = function.__doc__
    test.__module__ = function.__module__
    test.case = function  # type: ignore[attr-defined]
    return test


def case_names(suite: type) -> list[str]:
    """Return the names of all cases of a suite, sorted."""
    return sorted(name for name in dir(suite) if hasattr(getattr(suite, name), "case"))


def run_case(suite: type, name: str, harness: BrokerHarness) -> None:
    """Run one case to its end.

    Raises:
        CaseSkipped: the harness skips it, or a capability or hook is missing.
        AssertionError: the broker broke its contract.
        UsageError: the harness skips a case that does not exist.
    """
    if unknown := sorted(set(harness.skips) - set(case_names(suite))):
        raise UsageError(f"{type(harness).__name__}.skips names no case of the suite: {unknown}")
    if name in harness.skips:
        raise CaseSkipped(harness.skips[name])
    function: Case = getattr(suite, name).case
    with asyncio.Runner(loop_factory=harness.loop_factory) as runner:
        runner.run(_run(function, suite(), harness))


def failures(suite: type, harness: BrokerHarness) -> dict[str, Exception]:
    """Run all cases and return those that failed, with their errors.

    For trying the suite on a broker that is known to be wrong.
    """
    failed: dict[str, Exception] = {}
    for name in case_names(suite):
        try:
            run_case(suite, name, harness)
        except CaseSkipped:
            continue
        except Exception as error:
            failed[name] = error
    return failed


async def _run(function: Case, suite: object, harness: BrokerHarness) -> None:
    limit = asyncio.timeout(harness.case_timeout_s)
    try:
        async with limit:
            broker = harness.make_broker()
            await broker.connect()
            try:
                bench = Bench(harness, broker)
                await harness.create_queue(broker, bench.queue, QueueOptions())
                await function(suite, bench)
            finally:
                await broker.aclose()
    except TimeoutError:
        claim(not limit.expired(), f"the case ends within {harness.case_timeout_s} s")
        raise

"""Runs ways of doing the same, interleaved, each time in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.environments import ROOT, Environment, UnavailableError
from benchmarks.lock import alone
from benchmarks.measuring import Result

Round = dict[str, Result]
"""The results of one round, by the way's name."""

FAILED = "its run failed"
"""Why a way is left out that could be run, but failed."""

Runner = Callable[["Way"], Result]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        runs: rounds of each comparison.
        count: messages per run.
        full: whether what takes long is measured too.
    """

    runs: int = 5
    count: int = 5000
    full: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """One way of doing what a suite compares.

    Attributes:
        name: its name in the tables.
        module: what ``python -m`` runs; its last line on standard output is a result in JSON.
        arguments: its arguments.
        environment: where its packages are; None is the environment that runs the benchmarks.
        variables: more of its environment variables.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    environment: Environment | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a suite has measured.

    Attributes:
        rounds: the results of each round.
        skipped: the ways that could not be run, with the reason.
    """

    rounds: list[Round]
    skipped: dict[str, str]


class RunFailedError(Exception):
    """A measured process ended badly; the text says how."""


def interleave(ways: Iterable[Way], runs: int, run_one: Runner | None = None) -> Measured:
    """Run all ways one after the other, so many times; leave out what cannot be run here.

    That is a way whose environment cannot be had, and one that fails, from its first failure on
    and in the rounds before: both are in ``skipped``.

    Args:
        ways: what to run.
        runs: rounds.
        run_one: how to run one; None is :func:`run`.
    """
    skipped: dict[str, str] = {}
    available: list[Way] = []
    for way in ways:
        try:
            _python_of(way)
        except UnavailableError as error:
            skipped[way.name] = str(error)
        else:
            available.append(way)
    rounds: list[Round] = []
    for number in range(1, runs + 1):
        results: Round = {}
        rounds.append(results)
        for way in available:
            if way.name in skipped:
                continue
            print(f"  round {number} of {runs}: {way.name}", file=sys.stderr)
            try:
                results[way.name] = (run_one or run)(way)
            except RunFailedError as error:
                print(error, file=sys.stderr)
                skipped[way.name] = FAILED
                for one in rounds:
                    one.pop(way.name, None)
    return Measured(rounds, skipped)


def run(way: Way, *, timeout_s: float = 600) -> Result:
    """Run one way once, while no other benchmark runs on this machine; return its result.

    Raises:
        RunFailedError: it did not end well within the timeout.
    """
    with alone():
        return run_now(way, timeout_s=timeout_s)


def run_now(way: Way, *, timeout_s: float = 600) -> Result:
    """Run one way once, whatever else runs: fit for counts, not for times.

    Raises:
        RunFailedError: it did not end well within the timeout.
    """
    command = [str(_python_of(way)), "-m", way.module, *way.arguments]
    variables = {**_neutral_variables(), "PYTHONPATH": str(ROOT), **way.variables}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=timeout_s
        )
        if done.returncode == 0:
            result: Result = json.loads(done.stdout.splitlines()[-1])
            return result
        why = f"exit {done.returncode}: {done.stderr[-2000:]}"
    except subprocess.TimeoutExpired:
        why = f"not done within {timeout_s:.0f} s"
    except (IndexError, ValueError):
        why = f"its last line is no result: {done.stdout[-500:]}"
    raise RunFailedError(f"{way.name} ({' '.join(command[1:])}): {why}")


def _neutral_variables() -> dict[str, str]:
    """Return the environment without what would choose a broker, or how it is used."""
    return {name: at for name, at in os.environ.items() if not name.startswith(("MQ_", "AWS_"))}


def _python_of(way: Way) -> Path:
    return Path(sys.executable) if way.environment is None else way.environment.python()

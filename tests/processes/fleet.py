"""Workers on a strict double: started, killed and judged by what their journal says."""

import asyncio
import json
import signal
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Self

from mqtransport import Sent
from mqtransport.channel import Counts
from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import sqs_app
from tests.processes.support import ROOT, clean_environment, command
from tests.processes.worker import Work, Works

PATIENCE_S = 60.0
"""A process starts within a second; on a machine that others use, it may take longer."""


async def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for a state of another process; bounded."""
    try:
        async with asyncio.timeout(patience_s):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {patience_s:g} s: {what}") from None


def settings(double: SQSDouble, **more: str) -> dict[str, str]:
    """The environment of a process that works on the double."""
    return {
        "MQ_BROKER": "sqs",
        "MQ_URL": double.url,
        "MQ_REGION": "us-east-1",
        "MQ_USERNAME": "key",
        "MQ_PASSWORD": "secret",
        "MQ_WAIT_S": "1",
        **more,
    }


class Journal:
    """What the workers wrote, as far as it was read.

    Attributes:
        path: the file.
        steps: per kind of step, the process and the message of each, in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        path.touch()
        self._file = path.open(encoding="utf-8")
        self._rest = ""

    def read(self) -> Self:
        """Take in what is new."""
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        for line in lines:
            what, pid, detail = line.split(" ", 2)
            self.steps[what].append((int(pid), detail))
        return self

    def numbers(self, what: str, pid: int | None = None) -> list[int]:
        """Return the messages that took this step, in order; of one process or of all."""
        return [int(n) for by, n in self.read().steps[what] if pid in (None, by)]

    def count(self, what: str, pid: int | None = None) -> int:
        """Return how many took this step."""
        steps = self.read().steps[what]
        return len(steps) if pid is None else sum(by == pid for by, _ in steps)

    def counts(self, pid: int) -> Counts:
        """Return the counts that a worker noted at its end."""
        (found,) = [detail for by, detail in self.read().steps["counts"] if by == pid]
        return Counts(**json.loads(found))

    def close(self) -> None:
        self._file.close()


class Worker(subprocess.Popen[bytes]):
    """One worker."""

    def __init__(self, fleet: "Fleet", name: str, **options: object) -> None:
        self.gate = fleet.folder / f"{name}.gate"
        self.output = fleet.folder / f"{name}.log"
        arguments = (str(fleet.journal.path), str(self.gate), json.dumps(options))
        with self.output.open("wb") as output:
            super().__init__(
                command("-m", "tests.processes.worker", *arguments),
                env=clean_environment(**fleet.environment),
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill_now(self) -> None:
        """``kill -9``; returns when the process is gone."""
        self.send_signal(signal.SIGKILL)
        self.wait(PATIENCE_S)

    def log(self) -> str:
        return self.output.read_text(encoding="utf-8")


class Fleet:
    """The workers of one test, all alike.

    Attributes:
        workers: all that were ever started, the oldest first.
        journal: what all of them wrote.
    """

    def __init__(self, folder: Path, environment: dict[str, str], **options: object) -> None:
        self.folder = folder
        self.journal = Journal(folder / "journal")
        self.environment = environment
        self.workers: list[Worker] = []
        self._options = options

    def add(self) -> Worker:
        """Start another worker; it is not ready yet."""
        worker = Worker(self, f"worker-{len(self.workers)}", **self._options)
        self.workers.append(worker)
        return worker

    async def ready(self, worker: Worker) -> None:
        """Wait until a worker receives."""
        await self.noted("ready", 1, worker)

    async def noted(self, what: str, number: int, worker: Worker) -> None:
        """Wait until so many of its messages took a step."""
        await until(
            lambda: worker.poll() is not None or self.journal.count(what, worker.pid) >= number,
            f"{number} {what} of a worker\n{worker.log()}",
        )
        if self.journal.count(what, worker.pid) < number:
            raise AssertionError(f"a worker ended with {worker.returncode}:\n{worker.log()}")

    async def ended(self, worker: Worker) -> Counts:
        """Wait until a worker has ended well; return its counts, which must be balanced."""
        await until(lambda: worker.poll() is not None, f"the end of a worker\n{worker.log()}")
        if worker.returncode != 0:
            raise AssertionError(f"a worker ended with {worker.returncode}:\n{worker.log()}")
        counts = self.journal.counts(worker.pid)
        if not counts.balanced or counts.in_hand:
            raise AssertionError(f"not balanced: {counts}\n{worker.log()}")
        return counts

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill_now()  # SIGKILL also ends one that is stopped by SIGSTOP
        self.journal.close()


@contextmanager
def fleet(
    double: SQSDouble, folder: Path, stop_timeout_s: float = 25, **options: object
) -> Iterator[Fleet]:
    """Workers with these options of the consuming channel; all are gone at the end."""
    made = Fleet(folder, settings(double, MQ_STOP_TIMEOUT_S=str(stop_timeout_s)), **options)
    try:
        yield made
    finally:
        made.close()


@asynccontextmanager
async def feeder(double: SQSDouble, queue: str) -> AsyncIterator[Works]:
    """A producer on the queue."""
    async with sqs_app(double.url) as app:
        channel = await app.create_producing_channel(queue)
        channel.add_producer(producer := Works())
        await app.start()
        yield producer


async def feed(producer: Works, works: list[Work]) -> list[int]:
    """Send; return the numbers of the messages that the broker confirmed."""
    results = await producer.send_many(works)
    return [
        work.n
        for work, result in zip(works, results, strict=True)
        if isinstance(result, Sent) and result.state == "confirmed"
    ]

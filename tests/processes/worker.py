"""A service of its own process for the campaigns: each message says what its handler does.

Run as ``python -m tests.processes.worker JOURNAL '{"queue": ..., "dead_letter": ..., ...}'``; the
broker comes from the environment. Every step goes into the journal, an append-only file that any
number of workers share, before the next one is taken: what it says survives a ``kill -9``.
"""

import asyncio
import dataclasses
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from mqtransport import Consumer, Delivery, MQApp, Producer, Retry


class Work(BaseModel):
    """What a handler does.

    Attributes:
        n: which message it is.
        sleep_s: how long the handler sleeps first.
        then: what it does next. ``die`` ends the process at once; ``until_stop`` waits until the
            app begins to stop, ``until_gate`` until the file ``gate`` exists.
        gate: that file, by the name that each worker got for it.
    """

    n: int
    sleep_s: float = 0.0
    then: Literal["finish", "die", "until_stop", "until_gate"] = "finish"


class Works(Producer[Work]):
    name = "work"


class Worker(Consumer[Work]):
    name = "work"

    def __init__(self, journal: int, gate: Path) -> None:
        self._journal = journal
        self._gate = gate

    def note(self, what: str, detail: object = "-") -> None:
        """Write one line, unbuffered: the step, this process, and which message."""
        os.write(self._journal, f"{what} {os.getpid()} {detail}\n".encode())

    async def consume(self, work: Work, app: MQApp, delivery: Delivery) -> None:
        self.note("start", work.n)
        try:
            await self._act(work, app)
        except asyncio.CancelledError:
            self.note("lost" if delivery.lease_lost else "interrupted", work.n)
            raise
        self.note("done", work.n)

    async def _act(self, work: Work, app: MQApp) -> None:
        await asyncio.sleep(work.sleep_s)
        if work.then == "die":
            os._exit(1)
        while work.then == "until_stop" and app.running:
            await self._beat()
        while work.then == "until_gate" and not self._gate.exists():
            await self._beat()

    async def _beat(self) -> None:
        self.note("beat")
        await asyncio.sleep(0.02)


async def main(journal: str, gate: str, options: dict[str, Any]) -> None:
    """Work until a signal; then note the counts, as JSON."""
    logging.basicConfig(level=logging.INFO)
    retry = Retry(max_attempts=options.pop("max_attempts", 5))
    app = await MQApp.connect()
    channel = await app.create_consuming_channel(options.pop("queue"), retry=retry, **options)
    worker = Worker(os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND), Path(gate))
    channel.add_consumer(worker)
    # Not before signals are handled: the loop comes to it when run_forever waits.
    asyncio.get_running_loop().call_soon(worker.note, "ready")
    await app.run_forever()
    worker.note("counts", json.dumps(dataclasses.asdict(channel.counts)))
    await app.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))

"""A broker whose calls are made by other processes: python -m tests.conformance.shared_file SOCKET

What one call leaves behind in its process's memory is then of no use to the next: all that leases,
receipts, attempt ids and groups need has to be in the file.
"""

import asyncio
import pickle
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

from mqtransport.broker import QueueInfo, QueueOptions
from mqtransport.brokers.sqlite import SQLiteBroker
from mqtransport.errors import BrokerError, ClosedError
from mqtransport.message import Outgoing, RawDelivery

CLOSE = "close"
KEPT = b"k"
ANSWERED_WITHIN_S = 10.0


async def read(reader: asyncio.StreamReader) -> Any:
    size = int.from_bytes(await reader.readexactly(8))
    return pickle.loads(await reader.readexactly(size))


def write(writer: asyncio.StreamWriter, what: Any) -> None:
    data = pickle.dumps(what)
    writer.write(len(data).to_bytes(8) + data)


async def exchange(
    socket: Path, path: Path, verb: str, *arguments: Any, **named: Any
) -> tuple[bool, Any, asyncio.StreamWriter]:
    """Have a process make a call; it is cancelled there if this is cancelled.

    The caller closes the connection, and says KEPT before that if it has the answer.
    """
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        write(writer, (path, verb, arguments, named))
        ok, answer = await read(reader)
    except BaseException:
        writer.close()
        raise
    return ok, answer, writer


async def ask(socket: Path, path: Path, verb: str) -> Any:
    """Have a process make a call without arguments."""
    ok, answer, writer = await exchange(socket, path, verb)
    writer.close()
    if ok:
        return answer
    raise answer


def hang_up(asked: asyncio.Future[tuple[bool, Any, asyncio.StreamWriter]]) -> None:
    """Close the connection of an answer that nobody is there any more to have."""
    if not asked.cancelled() and asked.exception() is None:
        asked.result()[2].close()


class RotatingBroker(SQLiteBroker):
    """Uses the file itself, and lets each call be made by the next of several processes."""

    def __init__(self, path: Path, sockets: Sequence[Path]) -> None:
        super().__init__(path)
        self._sockets = cycle(sockets)
        self._asked: set[asyncio.Future[Any]] = set()

    async def _ask(self, verb: str, *arguments: Any, **named: Any) -> Any:
        self._open_worker(verb)
        asked = asyncio.ensure_future(
            exchange(next(self._sockets), self._path, verb, *arguments, **named)
        )
        self._asked.add(asked)
        try:
            ok, answer, writer = await asked
        except asyncio.CancelledError:
            asked.cancel()
            asked.add_done_callback(hang_up)
            if self._closed:
                raise ClosedError(f"{verb}: the broker was closed") from None
            raise
        finally:
            self._asked.discard(asked)
        # Without an await in between: either the caller has it, or the other process hears that
        # nobody has.
        writer.write(KEPT)
        writer.close()
        if ok:
            return answer
        raise answer

    async def aclose(self) -> None:
        await super().aclose()
        for asked in list(self._asked):
            asked.cancel()

    async def ping(self, queues: Sequence[str]) -> None:
        await self._ask("ping", queues)

    async def declare(self, queue: str, options: QueueOptions) -> None:
        await self._ask("declare", queue, options)

    async def describe(self, queue: str) -> QueueInfo:
        return await self._ask("describe", queue)

    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        return await self._ask("send", queue, batch)

    async def receive(self, queue: str, **named: Any) -> list[RawDelivery]:
        return await self._ask("receive", queue, **named)

    async def ack(self, queue: str, receipts: Sequence[str]) -> list[BrokerError | None]:
        return await self._ask("ack", queue, receipts)

    async def release(
        self, queue: str, receipts: Sequence[str], *, delay_s: float
    ) -> list[BrokerError | None]:
        return await self._ask("release", queue, receipts, delay_s=delay_s)

    async def extend(
        self, queue: str, receipts: Sequence[str], *, lease_s: float
    ) -> list[BrokerError | None]:
        return await self._ask("extend", queue, receipts, lease_s=lease_s)

    async def limit_queue(self, queue: str, max_message_bytes: int) -> None:
        await self._ask("limit_queue", queue, max_message_bytes)


class Server:
    """One of the processes: its brokers, by file."""

    def __init__(self) -> None:
        self._brokers: dict[Path, SQLiteBroker] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path, verb, arguments, named = await read(reader)
        call = asyncio.ensure_future(self._call(path, verb, *arguments, **named))
        gone = asyncio.ensure_future(reader.read())
        await asyncio.wait([call, gone], return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            call.cancel()
        with suppress(asyncio.CancelledError):
            ok, answer = await call
            with suppress(ConnectionError):
                write(writer, (ok, answer))
                await writer.drain()
            kept = b""
            with suppress(ConnectionError):
                kept = await asyncio.wait_for(gone, ANSWERED_WITHIN_S)
            if verb == "receive" and ok and answer and kept != KEPT:
                await self._give_back(self._brokers[path], arguments[0], answer)
        gone.cancel()
        writer.close()

    async def _give_back(self, broker: SQLiteBroker, queue: str, taken: list[RawDelivery]) -> None:
        """Do what the broker does itself when the caller of a receive is gone."""
        worker = broker._open_worker("receive")
        await worker.submit(broker._verbs.give_up(queue, taken))
        broker._wake_all()

    async def _call(self, path: Path, verb: str, *arguments: Any, **named: Any) -> Any:
        try:
            if verb == CLOSE:
                if (used := self._brokers.pop(path, None)) is not None:
                    await used.aclose()
                return True, None
            broker = self._brokers.setdefault(path, SQLiteBroker(path))
            await broker.connect()
            return True, await getattr(broker, verb)(*arguments, **named)
        except Exception as error:
            return False, error


async def main(socket: str) -> None:
    server = await asyncio.start_unix_server(Server().serve, socket)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

"""The double itself: a strict stand-in for Amazon SQS, to be used from tests."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple

from mqtransport.clock import Clock, SystemClock

from .actions import Actions, read_receive, received
from .controls import Controls
from .errors import SQSError
from .messages import MessageRecord, record_of
from .polls import Polls
from .server import Endpoint
from .store import ACCOUNT, Store
from .thread import in_thread, on_loop, on_loop_async


class Call(NamedTuple):
    """One request: its action, the queue it names ("" for none), and its number of entries."""

    action: str
    queue: str
    entries: int


class SQSDouble(Controls):
    """A strict double of Amazon SQS: an HTTP server for SDKs to talk to, in this process.

    It follows the rules that AWS documents, and raises the errors that AWS documents, where other
    emulators are lenient. A name that ends with ``.fifo`` and ``FifoQueue=True`` make a FIFO queue.
    It has no users and verifies no signatures. Until :meth:`misbehave` is called it is kinder than
    AWS: standard queues keep messages in order and repeat none, and short polls see all messages.

    ::

        async with SQSDouble() as double:
            double.create_queue("orders", VisibilityTimeout=5)
            ...  # point a client's endpoint_url at double.url
            assert double.counts("orders") == (1, 0, 0)

    Args:
        clock: the source of time for leases, delays and retention; default: the machine's. After
            moving a manual clock, call :meth:`wake`.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        zombie_polls: whether a long poll whose client has gone away still takes the next message
            and hides it for a lease, as on AWS.
        expected_access_key: refuse requests with any other access key, as AWS does
            (``InvalidClientTokenId``); None lets everybody in. It may be changed while it runs.
        seed: seed of message ids and receipts; None: unpredictable.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        zombie_polls: bool = True,
        expected_access_key: str | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(Store(clock or SystemClock(), random.Random(seed)))
        self.requests: Counter[str] = Counter()
        self.log: list[Call] = []
        self.expected_access_key = expected_access_key
        self._address = (host, port)
        self._url = ""
        self._actions = Actions(self.store, self._faults, "")
        self._polls: Polls | None = None
        self._endpoint = Endpoint(
            self._dispatch,
            access_key=lambda: self.expected_access_key,
            cancel_gone=not zombie_polls,
        )

    @classmethod
    def in_thread(
        cls,
        *,
        clock: Clock | None = None,
        zombie_polls: bool = True,
        expected_access_key: str | None = None,
        seed: int | None = None,
    ) -> AbstractContextManager[SQSDouble]:
        """Return a context manager that runs a double in a thread of its own.

        For synchronous tests. All methods may be called from the test's thread; ``store`` may not.
        The arguments are those of the class.
        """
        return in_thread(
            lambda: cls(
                clock=clock,
                zombie_polls=zombie_polls,
                expected_access_key=expected_access_key,
                seed=seed,
            )
        )

    @property
    def url(self) -> str:
        """The endpoint's URL, for ``endpoint_url``; known once the double has started."""
        return self._url

    async def __aenter__(self) -> SQSDouble:
        loop = self._bind()
        self._polls = polls = Polls(self.store, loop)
        for name in self.store.names():
            polls.watch(self.store.get(name))
        self.store.on_create, self.store.on_delete = polls.watch, polls.abandon
        port = await self._endpoint.start(*self._address)
        self._url = f"http://{self._address[0]}:{port}"
        self._actions = Actions(self.store, self._faults, self._url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_polls()
        await self._endpoint.aclose()
        self._unbind()

    @on_loop_async
    async def down(self) -> None:
        """Go away like a server that dies: connections are reset, new ones refused.

        Queues and messages are kept; polls that wait take nothing more. In a synchronous test:
        ``asyncio.run(double.down())``. While it is down, this does nothing.
        """
        await self._endpoint.reset(cut=self._end_polls)

    @on_loop_async
    async def up(self) -> None:
        """Come back after :meth:`down`, at the same URL; while it is up, this does nothing.

        Raises:
            RuntimeError: the double was not started, or has ended.
        """
        if self._loop is None:
            raise RuntimeError("the double is not running")
        if not self._endpoint.is_up:
            await self._endpoint.start(*self._address)

    def queue_url(self, name: str) -> str:
        """Return the URL that SQS would give for a queue of this name."""
        return f"{self._url}/{ACCOUNT}/{name}"

    @on_loop
    def create_queue(self, name: str, /, **attributes: object) -> str:
        """Create a queue without a request, and return its URL.

        Args:
            name: its name.
            attributes: as in ``CreateQueue``; numbers and dicts are turned into strings.

        Raises:
            SQSError: the request would be refused.
        """
        self.store.create(name, {key: _to_text(value) for key, value in attributes.items()})
        return self.queue_url(name)

    @on_loop
    def counts(self, queue: str) -> tuple[int, int, int]:
        """Return how many messages of a queue are visible, in flight and delayed.

        Raises:
            SQSError: ``QueueDoesNotExist``.
        """
        return self.store.get(queue).counts()

    @on_loop
    def messages(self, queue: str) -> list[MessageRecord]:
        """Return what is in a queue, in the order in which it came; it counts as no receive.

        Raises:
            SQSError: ``QueueDoesNotExist``.
        """
        return [record_of(message) for message in self.store.get(queue).messages()]

    @on_loop
    def reset_counts(self) -> None:
        """Forget the requests seen so far: ``requests`` and ``log`` are empty."""
        self.requests.clear()
        self.log.clear()

    @on_loop
    def wake(self) -> None:
        """Look again at what is due: call it after a manual clock was moved."""
        if self._polls is not None:
            self._polls.wake()

    async def _dispatch(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        self._note(action, params)
        self._faults.check(action)
        if action != "ReceiveMessage":
            return self._actions.run(action, params)
        queue = self._actions.queue_of(params)
        request = read_receive(queue, params)
        return received(await self._running_polls().receive(queue, request), request)

    def _end_polls(self) -> None:
        if self._polls is not None:
            self._polls.end_all()

    def _running_polls(self) -> Polls:
        if self._polls is None:
            raise SQSError("InternalFailure", "The double has not been started.")
        return self._polls

    def _note(self, action: str, params: dict[str, Any]) -> None:
        url, entries = params.get("QueueUrl"), params.get("Entries")
        name = url.rpartition("/")[2] if isinstance(url, str) else params.get("QueueName", "")
        number = len(entries) if isinstance(entries, list) else 1
        self.requests[action] += 1
        self.log.append(Call(action, str(name), number))


def _to_text(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)

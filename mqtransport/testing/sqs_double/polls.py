"""Long polls: receives that wait, and take messages in the order in which they came."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from .actions import ReceiveRequest
from .errors import SQSError
from .queues import Queue, Taken
from .store import Store


@dataclass(slots=True, eq=False)
class _Poll:
    request: ReceiveRequest
    done: asyncio.Future[Taken]

    def end(self, taken: Taken) -> None:
        if not self.done.done():
            self.done.set_result(taken)

    def fail(self, error: SQSError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Polls:
    """The receives that wait, by queue.

    A poll takes messages the moment they become visible, whether or not its client is still there:
    on AWS, too, a poll whose connection is gone hides the next message (aws-sdk-js issue 2350,
    aws-sdk-java-v2 issue 1395). Who wants other behaviour cancels the poll.

    Waiting itself is measured by the event loop; delays and leases by the store's clock.

    Args:
        store: the queues.
        loop: the event loop that serves them.
    """

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self._waiting: dict[Queue, dict[_Poll, None]] = {}
        self._timers: dict[Queue, asyncio.TimerHandle] = {}
        self._called: set[Queue] = set()

    def watch(self, queue: Queue) -> None:
        """Serve the polls of this queue when its messages change."""
        queue.changed = self._changed

    def wake(self) -> None:
        """Look at all queues again; needed after a manual clock was moved."""
        for queue in self._waiting:
            self._changed(queue)

    async def receive(self, queue: Queue, request: ReceiveRequest) -> Taken:
        """Return messages, at once or as soon as there are any, or none after the wait.

        Raises:
            SQSError: too many messages in flight, or the queue was deleted meanwhile.
        """
        if queue in self._waiting:
            # Polls that wait already come first.
            self._serve(queue)
        taken = self._take(queue, request)
        if taken or not request.wait_s:
            return taken
        poll = _Poll(request, self._loop.create_future())
        self._waiting.setdefault(queue, {})[poll] = None
        self._arm(queue)
        deadline = self._loop.call_later(request.wait_s, poll.end, [])
        try:
            return await poll.done
        finally:
            deadline.cancel()
            self._remove(queue, poll)

    def end_all(self) -> None:
        """Let every poll return, without messages."""
        for polls in self._waiting.values():
            for poll in polls:
                poll.end([])

    def abandon(self, queue: Queue) -> None:
        """Fail the polls of a queue that was deleted."""
        for poll in self._waiting.get(queue, ()):
            poll.fail(SQSError("QueueDoesNotExist", "The specified queue does not exist."))

    def _take(self, queue: Queue, request: ReceiveRequest) -> Taken:
        return self._store.receive(
            queue,
            request.limit,
            request.lease_s,
            request.attempt_id,
            short=request.wait_s == 0,
        )

    def _changed(self, queue: Queue) -> None:
        if queue in self._waiting and queue not in self._called:
            self._called.add(queue)
            self._loop.call_soon(self._serve, queue)

    def _serve(self, queue: Queue) -> None:
        self._called.discard(queue)
        empty = False
        for poll in list(self._waiting.get(queue, ())):
            # An attempt may have its messages already, from an earlier poll with the same id.
            if poll.done.done() or (empty and poll.request.attempt_id is None):
                continue
            try:
                taken = self._take(queue, poll.request)
            except SQSError as error:
                poll.fail(error)
                continue
            empty = not taken
            if taken:
                poll.end(taken)
        self._arm(queue)

    def _arm(self, queue: Queue) -> None:
        timer = self._timers.pop(queue, None)
        if timer is not None:
            timer.cancel()
        due = queue.next_due() if queue in self._waiting else None
        if due is not None:
            delay = max(0.0, due - self._store.clock.monotonic())
            self._timers[queue] = self._loop.call_later(delay, self._serve, queue)

    def _remove(self, queue: Queue, poll: _Poll) -> None:
        polls = self._waiting[queue]
        del polls[poll]
        if not polls:
            del self._waiting[queue]
            timer = self._timers.pop(queue, None)
            if timer is not None:
                timer.cancel()

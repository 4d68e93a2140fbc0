"""The order in which a queue hands out its visible messages.

A queue knows nothing of order: it tells its line of every change of a message's state, and draws
from it what a receive may deliver.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from .messages import Message, State
from .misbehaviour import Misbehaviour


class Line(Protocol):
    """What a queue asks of the order of its visible messages."""

    def moved(self, message: Message, before: State) -> None:
        """Take note that a message changed its state."""
        ...

    def draw(self) -> Iterator[Message]:
        """Yield what one receive may deliver, in order.

        The receive settles the state of each message before it asks for the next; it may stop at
        any time.
        """
        ...

    def clear(self) -> None:
        """Forget all messages."""
        ...


class StandardLine:
    """First visible, first delivered, unless the account misbehaves.

    A message deleted while it waits stays in place and is skipped, so each step costs the same
    however deep the queue is.

    Args:
        misbehaviour: chooses the order.
    """

    def __init__(self, misbehaviour: Misbehaviour) -> None:
        self._misbehaviour = misbehaviour
        self._waiting: deque[Message] = deque()

    def moved(self, message: Message, before: State) -> None:
        """Add a message that became visible at the end."""
        if message.state is State.VISIBLE:
            self._waiting.append(message)

    def draw(self) -> Iterator[Message]:
        """Yield what is still visible, and what is offered again."""
        waiting = self._waiting
        while waiting:
            position = self._misbehaviour.position(len(waiting))
            waiting[0], waiting[position] = waiting[position], waiting[0]
            message = waiting.popleft()
            if message.state is State.VISIBLE or message.offered:
                yield message

    def offer(self, message: Message) -> None:
        """Let a message in flight be drawn once more."""
        message.offered = message.repeated = True
        self._waiting.append(message)

    def clear(self) -> None:
        """Forget all messages."""
        self._waiting.clear()


class _Group:
    """The visible messages of one group by sequence number, and how many are in flight."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._visible: list[tuple[int, Message]] = []

    def add(self, message: Message) -> None:
        heapq.heappush(self._visible, (message.sequence, message))

    def head(self) -> Message | None:
        """Return the first visible message; what was deleted meanwhile is dropped here."""
        while self._visible:
            message = self._visible[0][1]
            if message.state is State.VISIBLE:
                return message
            heapq.heappop(self._visible)
        return None

    def pop(self) -> None:
        heapq.heappop(self._visible)


class OrderedLine:
    """The order of a FIFO queue: by sequence number within a group, group by group.

    A group with a message in flight is held back from every other receive. One receive takes as
    many messages of a group as it can before it turns to the next ("FIFO queue delivery logic",
    developer guide); between groups AWS promises no order, here the oldest head comes first.

    A message that comes back, by release or because its lease ended, stands where its sequence
    number puts it. Each step costs the logarithm of the depth.
    """

    def __init__(self) -> None:
        self._groups: dict[str | None, _Group] = {}
        # The groups that may be drawn from, by the sequence number of their head. An entry is good
        # only while that head is still the head and nothing is in flight; others are skipped.
        self._ready: list[tuple[int, _Group]] = []

    def moved(self, message: Message, before: State) -> None:
        """Count what is in flight, and offer a group when it may be drawn from."""
        name, state = message.contents.group, message.state
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group()
        if before is State.IN_FLIGHT:
            group.in_flight -= 1
        if state is State.IN_FLIGHT:
            group.in_flight += 1
        if state is State.VISIBLE:
            group.add(message)
        if group.in_flight:
            return
        head = group.head()
        if head is None:
            del self._groups[name]
        elif head is message or before in (State.IN_FLIGHT, State.VISIBLE):
            heapq.heappush(self._ready, (head.sequence, group))

    def draw(self) -> Iterator[Message]:
        """Yield messages of groups that have none in flight, as many of each as there are."""
        while self._ready:
            sequence, group = heapq.heappop(self._ready)
            head = group.head()
            if group.in_flight or head is None or head.sequence != sequence:
                continue
            while (message := group.head()) is not None:
                group.pop()
                yield message

    def clear(self) -> None:
        """Forget all messages."""
        self._groups.clear()
        self._ready.clear()

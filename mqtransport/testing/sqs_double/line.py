"""The order in which a queue hands out its visible messages.

A queue knows nothing of order: it puts messages that became visible into its line and takes them
out again. An ordered queue needs a line of its own, which holds groups back; nothing else.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from .messages import Message, State


class Line(Protocol):
    """What a queue asks of the order of its visible messages."""

    def put(self, message: Message) -> None:
        """Add a message that became visible."""

    def take(self) -> Message | None:
        """Return the next message to deliver, or None when there is none."""

    def clear(self) -> None:
        """Forget all messages."""


class StandardLine:
    """First visible, first delivered: one of the orders that a standard queue may show.

    A message deleted while it waits stays in place and is skipped, so each step costs the same
    however deep the queue is.
    """

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque()

    def put(self, message: Message) -> None:
        """Add a message at the end."""
        self._waiting.append(message)

    def take(self) -> Message | None:
        """Return the first message that is still visible."""
        while self._waiting:
            message = self._waiting.popleft()
            if message.state is State.VISIBLE:
                return message
        return None

    def clear(self) -> None:
        """Forget all messages."""
        self._waiting.clear()

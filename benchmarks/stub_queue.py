"""A queue of the SQS stub: what is ready, delayed and in flight. Pure, with time handed in."""

from __future__ import annotations

import base64
import functools
import hashlib
import heapq
import itertools
import math
import struct
from collections import Counter, deque
from collections.abc import Mapping

Attributes = Mapping[str, Mapping[str, str]]

_numbers = itertools.count(1)
_SIZE = struct.Struct(">I")


class Message:
    """A message of the stub, with the digests that SQS answers with."""

    __slots__ = (
        "attributes",
        "attributes_md5",
        "body",
        "body_md5",
        "deadline",
        "first_received",
        "group",
        "id",
        "receipt",
        "received",
        "sent",
    )

    def __init__(
        self, body: str, attributes: Attributes | None, group: str | None, sent: float
    ) -> None:
        self.id = f"00000000-0000-4000-8000-{next(_numbers):012x}"
        self.body = body
        self.body_md5 = md5_of_body(body)
        self.attributes = attributes
        self.attributes_md5 = md5_of_attributes(attributes) if attributes else None
        self.group = group
        self.sent = sent
        self.received = 0
        self.first_received = 0.0
        self.receipt = ""
        self.deadline = 0.0


class Queue:
    """One queue: at least once, no order promised, leases that run out.

    Attributes:
        requests: requests per action.
        paused: receives find nothing while it is; so a full queue can be handed to a consumer
            that has been started before.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests: Counter[str] = Counter()
        self.paused = False
        self._ready: deque[Message] = deque()
        self._in_flight: dict[str, Message] = {}
        self._delayed = 0
        self._due: list[tuple[float, int, Message]] = []

    @property
    def depth(self) -> int:
        """How many messages could be received now."""
        return len(self._ready)

    @property
    def in_flight(self) -> int:
        """How many messages are leased."""
        return len(self._in_flight)

    @property
    def empty(self) -> bool:
        """Whether nothing is left: all that was sent has been deleted."""
        return not self._ready and not self._in_flight and not self._delayed

    def put(self, message: Message, delay_s: float = 0) -> None:
        """Take a message in."""
        if delay_s > 0:
            self._delayed += 1
            self._later(message, message.sent + delay_s)
        else:
            self._ready.append(message)

    def take(self, most: int, lease_s: float, now: float) -> list[Message]:
        """Lease up to so many messages."""
        self.expire(now)
        if self.paused:
            return []
        taken: list[Message] = []
        while self._ready and len(taken) < most:
            message = self._ready.popleft()
            message.received += 1
            message.first_received = message.first_received or now
            message.receipt = f"{message.id}#{message.received}"
            self._in_flight[message.receipt] = message
            self._later(message, now + lease_s)
            taken.append(message)
        return taken

    def delete(self, receipt: str) -> None:
        """Delete by receipt; one that is unknown is accepted, as SQS does."""
        if (message := self._in_flight.pop(receipt, None)) is not None:
            message.deadline = math.inf

    def change(self, receipt: str, lease_s: float, now: float) -> bool:
        """Change a lease; False if the message is not in flight."""
        if (message := self._in_flight.get(receipt)) is None:
            return False
        self._later(message, now + lease_s)
        self.expire(now)
        return True

    def expire(self, now: float) -> None:
        """Make ready what is due: leases that ran out, delays that are over."""
        while self._due and self._due[0][0] <= now:
            at, _, message = heapq.heappop(self._due)
            if message.deadline == at:  # else it was deleted, or its lease was changed
                if self._in_flight.pop(message.receipt, None) is None:
                    self._delayed -= 1
                self._ready.append(message)

    def purge(self) -> None:
        """Forget everything."""
        self._ready.clear()
        self._in_flight.clear()
        self._due.clear()
        self._delayed = 0

    def _later(self, message: Message, at: float) -> None:
        message.deadline = at
        heapq.heappush(self._due, (at, next(_numbers), message))


def md5_of_body(body: str) -> str:
    """Return the MD5 digest of a body, in hexadecimal."""
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


def md5_of_attributes(attributes: Attributes) -> str:
    """Return the MD5 digest of message attributes ("Amazon SQS message metadata").

    Sorted by name; name, type and value each follow their length in 4 bytes, and the value
    follows a byte 1 for strings and numbers, 2 for binaries.
    """
    parts: list[bytes] = []
    for name in sorted(attributes):
        attribute = attributes[name]
        if (text := attribute.get("StringValue")) is not None:
            value = text.encode()
            before = _name_and_type(name, attribute["DataType"], b"\x01")
        else:
            value = base64.b64decode(attribute["BinaryValue"])
            before = _name_and_type(name, attribute["DataType"], b"\x02")
        parts += (before, _SIZE.pack(len(value)), value)
    return hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()


@functools.lru_cache(maxsize=1000)
def _name_and_type(name: str, data_type: str, kind: bytes) -> bytes:
    # Few are in use; keeping them makes the stub a third faster for messages with attributes.
    whole = (name.encode(), data_type.encode())
    return b"".join(_SIZE.pack(len(part)) + part for part in whole) + kind

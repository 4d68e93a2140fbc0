"""The seam: a broker is one subclass of :class:`Broker`.

A driver is thin. It speaks in lists, answers item by item in input order, and translates
every foreign error; batching, retries, leases, dead letters and stop are written once,
above it. The conformance suite in :mod:`mqtransport.testing` checks this contract.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from mqtransport.errors import BrokerError
from mqtransport.message import Outgoing, RawDelivery

DEFAULT_TIMEOUT_S = 5.0
"""A broker that has not answered for this long is treated as gone."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a broker can do; differences between brokers are declared here, not discovered.

    Attributes:
        name: the broker's name in URLs and messages.
        max_batch: most items in one send, ack, release or extend call, and most messages of
            one receive.
        max_batch_bytes: most bytes of all messages of one send together.
        max_message_bytes: most bytes of one message, attributes included, unless a queue has
            a lower limit (:attr:`QueueInfo.max_message_bytes`).
        max_attributes: most attributes of one message.
        max_wait_s: longest wait of a receive.
        max_delay_s: longest delay of a message.
        max_lease_s: longest time from receive to settle, extensions included.
        lease_step_s: leases and delays are rounded up to a multiple of it; 0 is exact.
        durable: a confirmed message survives the end of the process.
        ordered: ``*.fifo`` queues are supported.
        receive_cancellable: cancelling a receive hides no message.
        creates_queues: queues come into being on first use; nobody has to provision them.
        detects_stale_receipts: settling a delivery that is no longer ours is refused with
            StaleReceiptError; without it, such a call may report success and do nothing.
    """

    name: str
    max_batch: int
    max_batch_bytes: int
    max_message_bytes: int
    max_attributes: int
    max_wait_s: float
    max_delay_s: float
    max_lease_s: float
    lease_step_s: float
    durable: bool
    ordered: bool
    receive_cancellable: bool
    creates_queues: bool
    detects_stale_receipts: bool


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """How to create a queue.

    Attributes:
        lease_s: the queue's own default lease.
        dead_letter_queue: where the broker itself moves a message delivered too often; the
            queue is created first if it is missing. None for no such policy.
        max_receive_count: deliveries before that move.
        retention_s: how long messages are kept; None is the broker's default. A broker that
            keeps messages until they are acked may ignore it.
    """

    lease_s: float = 30.0
    dead_letter_queue: str | None = None
    max_receive_count: int = 20
    retention_s: float | None = None


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """What may be known of a queue; None where the broker does not tell, or may not tell us.

    Attributes:
        max_message_bytes: the size limit in force on this queue.
        depth: messages that are not hidden, approximately on SQS; on an ordered queue also those
            behind a hidden one of their group.
        in_flight: messages leased to somebody.
        delayed: messages still hidden by a delay.
        lease_s: the queue's own default lease.
        max_receive_count: deliveries before the broker itself dead-letters.
        dead_letter_queue: where to.
        retention_s: how long a message is kept before the broker drops it.
        fifo: whether it is an ordered queue.
        delay_s: the queue's own delay, which hides messages that are sent without one.
    """

    max_message_bytes: int | None = None
    depth: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    lease_s: float | None = None
    max_receive_count: int | None = None
    dead_letter_queue: str | None = None
    retention_s: float | None = None
    fifo: bool | None = None
    delay_s: float | None = None


class Broker(ABC):
    """A driver for one kind of broker.

    The constructor validates its options and does no I/O. Every verb may run concurrently
    with every other on one instance. Drivers never retry. Every verb ends within
    ``timeout_s``, ``receive`` within ``wait_s + timeout_s``; ending late is raised as
    BrokerUnavailableError. A failure of a whole call raises a BrokerError, a failure of one
    item is returned in its place; no foreign exception escapes. Cancellation is never
    swallowed. A verb before ``connect`` or after ``aclose`` raises ClosedError.

    ``queue`` is always the physical name (or URL, where the broker has them). Arguments out of
    range, and empty or too long lists, raise RefusedError. A closed broker stays closed.

    A queue named ``*.fifo`` is ordered: its messages need a group and take no delay. Messages of
    one group are delivered in the order in which they were sent; while one of them is leased, or
    released with a delay that has not ended, no other receive brings any of its group. One
    receive may bring several of a group, in order. A message whose dedup id was sent to the queue
    within the last 5 minutes is confirmed, with the id of the first, and not stored again, also
    after the first was acked.

    Attributes:
        capabilities: what this broker can do.
        timeout_s: seconds after which a call counts as failed.
    """

    capabilities: ClassVar[Capabilities]
    timeout_s: float = DEFAULT_TIMEOUT_S

    @abstractmethod
    async def connect(self) -> None:
        """Make the client ready; idempotent. Need not reach the broker: ``ping`` does."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close everything that was opened; idempotent, never raises on a dead link."""

    @abstractmethod
    async def ping(self, queues: Sequence[str]) -> None:
        """Prove that the broker is reachable with valid credentials; creates nothing.

        Makes at most one call, about one of ``queues``, or about a reserved name if there is
        none. An answer that proves reach and credentials passes, "access denied" and "no such
        queue" included.

        Raises:
            BrokerError: unreachable, timed out, throttled, or credentials not accepted.
        """

    @abstractmethod
    async def declare(self, queue: str, options: QueueOptions) -> None:
        """Make the queue exist.

        The options are those of a queue that is made now. One that exists keeps its messages
        and its options; a dead letter policy is added where it has none, so that it does not
        matter in which order an app opens its queues.

        Raises:
            BrokerError: it cannot be created.
        """

    @abstractmethod
    async def describe(self, queue: str) -> QueueInfo:
        """Return what may be known of the queue.

        Fields that the broker may not tell us (denied) are None; that is no error.

        Raises:
            QueueNotFoundError: it does not exist.
            BrokerError: the broker cannot be reached or refuses.
        """

    @abstractmethod
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        """Put 1 to ``max_batch`` messages on the queue, together at most ``max_batch_bytes``.

        Returns, per message, the broker's id if, and only if, the broker's answer proves that
        it has this very body; else an error. One refused message leaves its neighbours alone.
        An error with ``maybe_done`` says that the message may be in the queue.
        """

    @abstractmethod
    async def receive(
        self,
        queue: str,
        *,
        max_messages: int,
        wait_s: float,
        lease_s: float,
        attempt_id: str | None = None,
    ) -> list[RawDelivery]:
        """Take up to ``max_messages`` (1 to ``max_batch``) messages out of the queue.

        Returns as soon as there is at least one message; returns ``[]`` after ``wait_s``. Each
        message is hidden from everybody for ``lease_s``; then, unless it was settled, it is
        delivered again with ``attempt`` one higher. Cancelling the call may hide a message for
        one lease unless ``receive_cancellable``; it never loses one.

        Args:
            queue: where from.
            max_messages: most messages to take.
            wait_s: how long to wait for the first; 0 to ``max_wait_s``.
            lease_s: how long they are ours; more than 0.
            attempt_id: on ``*.fifo`` queues, names the attempt, so that the same messages come
                again if a reply was lost; ignored elsewhere.
        """

    @abstractmethod
    async def ack(self, queue: str, receipts: Sequence[str]) -> list[BrokerError | None]:
        """Delete 1 to ``max_batch`` deliveries for good; acking twice is fine.

        None per item says that the broker confirmed it.
        """

    @abstractmethod
    async def release(
        self, queue: str, receipts: Sequence[str], *, delay_s: float
    ) -> list[BrokerError | None]:
        """Give deliveries back: each can be delivered again after ``delay_s`` (0: at once)."""

    @abstractmethod
    async def extend(
        self, queue: str, receipts: Sequence[str], *, lease_s: float
    ) -> list[BrokerError | None]:
        """Let each lease end ``lease_s`` from now; it sets the end, it does not add."""

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

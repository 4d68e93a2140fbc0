"""The queues of one account: creation, deletion, look-up, attributes. No I/O."""

from __future__ import annotations

import itertools
import random
import re
import uuid
from collections.abc import Callable, Mapping

from mqtransport.clock import Clock

from . import attributes
from .attributes import Settings, check_changes, check_new_settings
from .contents import Contents
from .errors import SQSError, invalid_parameter
from .line import OrderedLine
from .messages import Message
from .misbehaviour import Misbehaviour
from .ordered import OrderedQueue
from .queues import Queue, Taken
from .receipts import ReceiptBook
from .standard import StandardQueue

ACCOUNT = "000000000000"
REGION = "us-east-1"
REUSE_AFTER_S = 60.0
"""A deleted queue's name cannot be used again before this (CreateQueue)."""

PURGE_INTERVAL_S = 60.0
"""One purge of a queue in this time (PurgeQueue)."""

FIFO_SUFFIX = ".fifo"

_NAME = re.compile(r"[A-Za-z0-9_\-]{1,80}\Z")
_FIFO_NAME = re.compile(r"[A-Za-z0-9_\-]{1,75}\.fifo\Z")

# "Large, non-consecutive" numbers that increase (SendMessage).
_FIRST_SEQUENCE = 18_849_496_460_467_696_128
_SEQUENCE_STEP = 256


class Store:
    """All queues, and the rules about them.

    The HTTP layer is not needed: a test with a manual clock may drive a store directly.

    Args:
        clock: the source of time.
        source: the source of randomness, for message ids and receipts.
    """

    def __init__(self, clock: Clock, source: random.Random) -> None:
        self.clock = clock
        self.misbehaviour = Misbehaviour()
        self._random = source
        self._key = source.randbytes(32)
        self._queues: dict[str, Queue] = {}
        self._deleted: dict[str, float] = {}
        self._created: dict[str, tuple[int, int]] = {}
        self._sequence = itertools.count(_FIRST_SEQUENCE, _SEQUENCE_STEP)
        # Called for each new queue, so that a layer above can watch it.
        self.on_create: Callable[[Queue], None] = lambda _: None
        self.on_delete: Callable[[Queue], None] = lambda _: None

    def create(self, name: str, given: Mapping[str, object]) -> Queue:
        """Create a queue, or return the one that has this name and the same attributes.

        Raises:
            SQSError: bad name or attribute, other attributes than the existing queue's, or a name
                deleted less than 60 s ago.
        """
        ordered = given.get("FifoQueue") == "true"
        _check_name(name, ordered)
        settings = check_new_settings(given, ordered=ordered)
        existing = self._queues.get(name)
        if existing is not None:
            differing = existing.settings.differing(settings)
            if differing is None:
                return existing
            raise SQSError(
                "QueueNameExists",
                "A queue already exists with the same name and a different value "
                f"for attribute {differing}",
            )
        self._check_not_recent(name)
        self._check_dead_letter_queue(self.arn(name), settings)
        return self._add(name, settings)

    def delete(self, queue: Queue) -> None:
        """Delete a queue and its messages at once."""
        queue.purge()
        del self._queues[queue.name]
        self._deleted[queue.name] = self.clock.monotonic()
        self.on_delete(queue)

    def get(self, name: str) -> Queue:
        """Return a queue by name.

        Raises:
            SQSError: ``QueueDoesNotExist``.
        """
        queue = self._queues.get(name)
        if queue is None:
            raise SQSError("QueueDoesNotExist", "The specified queue does not exist.")
        return queue

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of all queues that begin with the prefix, sorted."""
        return sorted(name for name in self._queues if name.startswith(prefix))

    def arn(self, name: str) -> str:
        """Return the Amazon Resource Name of a queue with this name."""
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    def send(self, queue: Queue, contents: Contents, delay_s: int | None = None) -> Message:
        """Store a new message and return it.

        What a FIFO queue takes for a duplicate is not stored, and has the first one's id.

        Raises:
            SQSError: the queue's KMS key is unusable.
        """
        queue.check_key()
        message = Message(
            message_id=str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            contents=contents,
            sent_at=self.clock.monotonic(),
            sent_epoch_ms=int(self.clock.time() * 1000),
        )
        queue.send(message, delay_s)
        return message

    def receive(
        self,
        queue: Queue,
        limit: int = 1,
        lease_s: int | None = None,
        attempt_id: str | None = None,
        *,
        short: bool = False,
    ) -> Taken:
        """Lease up to ``limit`` messages; exhausted ones go to the dead letter queue.

        Args:
            queue: the queue.
            limit: how many messages, at most.
            lease_s: for how long; None: the queue's own ``VisibilityTimeout``.
            attempt_id: the ``ReceiveRequestAttemptId``, for FIFO queues.
            short: whether it is a short poll, which may overlook messages of a standard queue.

        Raises:
            SQSError: ``OverLimit``: too many messages are in flight; or the key is unusable.
        """
        queue.check_key()
        if short and not queue.settings.ordered:
            limit = self.misbehaviour.limit(limit)
            if not limit:
                return []
        return queue.receive(limit, lease_s, self._dead_letter_queue(queue), attempt_id)

    def purge(self, queue: Queue) -> None:
        """Delete all messages of a queue.

        Raises:
            SQSError: ``PurgeQueueInProgress``: the last purge is less than 60 s ago.
        """
        now = self.clock.monotonic()
        if queue.purged_at is not None and now - queue.purged_at < PURGE_INTERVAL_S:
            raise SQSError(
                "PurgeQueueInProgress",
                f"Only one PurgeQueue operation on {queue.name} is allowed every 60 seconds.",
            )
        queue.purged_at = now
        queue.purge()

    def set_attributes(self, queue: Queue, given: Mapping[str, object]) -> None:
        """Change attributes of a queue, all or none.

        Raises:
            SQSError: an unknown name or a refused value.
        """
        settings = check_changes(given, queue.settings)
        self._check_dead_letter_queue(queue.arn, settings)
        queue.settings.update(settings)
        if "DelaySeconds" in settings:
            queue.delay_changed()
        self._created[queue.name] = (self._created[queue.name][0], int(self.clock.time()))

    def attributes(self, queue: Queue) -> dict[str, str]:
        """Return all attributes of a queue, set and computed, as strings."""
        visible, in_flight, delayed = queue.counts()
        created, modified = self._created[queue.name]
        computed = {
            "ApproximateNumberOfMessages": visible,
            "ApproximateNumberOfMessagesNotVisible": in_flight,
            "ApproximateNumberOfMessagesDelayed": delayed,
            "CreatedTimestamp": created,
            "LastModifiedTimestamp": modified,
            "QueueArn": queue.arn,
        }
        return queue.settings.values() | {name: str(value) for name, value in computed.items()}

    def _add(self, name: str, settings: Mapping[str, str]) -> Queue:
        receipts = ReceiptBook(self._random.randbytes(16), self._key)
        arn, own, clock = self.arn(name), Settings(settings), self.clock
        queue: Queue
        if own.ordered:
            queue = OrderedQueue(name, arn, own, clock, receipts, OrderedLine(), self._sequence)
        else:
            queue = StandardQueue(name, arn, own, clock, receipts, self.misbehaviour)
        self._queues[name] = queue
        now = int(self.clock.time())
        self._created[name] = (now, now)
        self.on_create(queue)
        return queue

    def _check_not_recent(self, name: str) -> None:
        deleted = self._deleted.get(name)
        if deleted is not None and self.clock.monotonic() - deleted < REUSE_AFTER_S:
            raise SQSError(
                "QueueDeletedRecently",
                "You must wait 60 seconds after deleting a queue before you can create another "
                "with the same name.",
            )

    def _check_dead_letter_queue(self, source_arn: str, settings: Mapping[str, str]) -> None:
        wanted = Settings(settings).dead_letter_arn
        if wanted is None:
            return
        target = self._by_arn(wanted)
        if target is None:
            reason = "Dead letter target does not exist."
        elif target.settings.ordered != source_arn.endswith(FIFO_SUFFIX):
            reason = "Source and dead letter queue must both be FIFO queues or both standard ones."
        elif not attributes.allows(target.settings, source_arn):
            reason = "The dead letter target's RedriveAllowPolicy does not allow this queue."
        else:
            return
        raise invalid_parameter("RedrivePolicy", settings["RedrivePolicy"], reason)

    def _dead_letter_queue(self, queue: Queue) -> Queue | None:
        arn = queue.settings.dead_letter_arn
        return None if arn is None else self._by_arn(arn)

    def _by_arn(self, arn: str) -> Queue | None:
        name = arn.rpartition(":")[2]
        return self._queues.get(name) if arn == self.arn(name) else None


def _check_name(name: str, ordered: bool) -> None:
    if ordered and not _FIFO_NAME.match(name):
        raise SQSError(
            "InvalidParameterValue",
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or "
            "underscores, must end with .fifo suffix and be 1 to 80 in length.",
        )
    if not ordered and not _NAME.match(name):
        reason = "Can only include alphanumeric characters, hyphens, or underscores. "
        raise invalid_parameter("QueueName", name, reason + "1 to 80 in length")

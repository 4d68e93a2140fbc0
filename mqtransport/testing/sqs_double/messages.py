"""A stored message, what a receive shows of it, and the record that tests look at."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .contents import Contents
from .digests import md5_of_attributes, md5_of_body

SENDER_ID = "AIDACKCEVSQ6C2EXAMPLE"
"""The user id that AWS uses in its own examples; the double knows no users."""


class State(Enum):
    """Where a message is between sending and deletion."""

    DELAYED = "delayed"
    VISIBLE = "visible"
    IN_FLIGHT = "in_flight"
    GONE = "gone"


@dataclass(slots=True, eq=False)
class Message:
    """A message in a queue.

    ``receives`` is counted across queues and is the number that receives report; ``receives_here``
    is counted in the present queue and is compared with ``maxReceiveCount``. ``sequence`` is the
    sequence number in a FIFO queue, and 0 in a standard one. ``offered`` lets it be received while
    it is in flight, ``repeated`` that it was so once, ``survived`` that it was deleted and is there
    all the same.
    """

    message_id: str
    contents: Contents
    sent_at: float
    sent_epoch_ms: int
    body_md5: str = field(init=False)
    sequence: int = 0
    state: State = State.GONE
    timer: int = 0
    receives: int = 0
    receives_here: int = 0
    first_received_epoch_ms: int = 0
    received_at: float = 0.0
    source_arn: str | None = None
    offered: bool = False
    repeated: bool = False
    survived: bool = False

    def __post_init__(self) -> None:
        self.body_md5 = md5_of_body(self.contents.body)

    def system_attributes(self) -> dict[str, str]:
        """Return every system attribute that the message has."""
        found = {
            "SenderId": SENDER_ID,
            "SentTimestamp": str(self.sent_epoch_ms),
            "ApproximateReceiveCount": str(self.receives),
            "ApproximateFirstReceiveTimestamp": str(self.first_received_epoch_ms),
            "SequenceNumber": str(self.sequence) if self.sequence else None,
            "MessageDeduplicationId": self.contents.dedup_id,
            "MessageGroupId": self.contents.group,
            "AWSTraceHeader": self.contents.trace_header,
            "DeadLetterQueueSourceArn": self.source_arn,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """What a test sees of a message.

    Args:
        message_id: the id that the send returned.
        body: the text as it was sent.
        attributes: name to text, or bytes for Binary.
        data_types: name to data type, label included.
        group: the message group id, or None.
        dedup_id: the message deduplication id, in FIFO queues; None in standard ones.
        sequence_number: where it stands in its FIFO queue; None in standard ones.
        receive_count: deliveries so far, in all queues.
        state: ``visible``, ``in_flight`` or ``delayed``.
        source_arn: the queue that a dead letter came from, or None.
    """

    message_id: str
    body: str
    attributes: Mapping[str, str | bytes]
    data_types: Mapping[str, str]
    group: str | None
    dedup_id: str | None
    sequence_number: int | None
    receive_count: int
    state: str
    source_arn: str | None


def record_of(message: Message) -> MessageRecord:
    """Return the record of a message."""
    attributes = message.contents.attributes
    return MessageRecord(
        message_id=message.message_id,
        body=message.contents.body,
        attributes={name: value.value for name, value in attributes.items()},
        data_types={name: value.data_type for name, value in attributes.items()},
        group=message.contents.group,
        dedup_id=message.contents.dedup_id,
        sequence_number=message.sequence or None,
        receive_count=message.receives,
        state=message.state.value,
        source_arn=message.source_arn,
    )


def to_json(
    message: Message, receipt: str, system_names: Collection[str], names: Collection[str]
) -> dict[str, Any]:
    """Return a received message as SQS answers it, with the attributes that were asked for."""
    found: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": receipt,
        "MD5OfBody": message.body_md5,
        "Body": message.contents.body,
    }
    if system_names:
        system = message.system_attributes()
        if "All" not in system_names:
            system = {name: value for name, value in system.items() if name in system_names}
        if system:
            found["Attributes"] = system
    attributes = {
        name: value
        for name, value in message.contents.attributes.items()
        if any(_selects(pattern, name) for pattern in names)
    }
    if attributes:
        found["MD5OfMessageAttributes"] = md5_of_attributes(attributes)
        found["MessageAttributes"] = {name: item.to_json() for name, item in attributes.items()}
    return found


def _selects(pattern: str, name: str) -> bool:
    """``All``, ``.*``, a prefix before ``.*``, or the name itself (ReceiveMessage)."""
    if pattern == "All":
        return True
    return name.startswith(pattern[:-2]) if pattern.endswith(".*") else name == pattern

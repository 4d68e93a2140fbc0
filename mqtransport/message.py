"""The values that cross the library: what is sent, what is delivered, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class Attribute(NamedTuple):
    """One attribute of a message on the wire.

    Attributes:
        data_type: SQS's data type: ``String``, ``Number`` or ``Binary``, with an optional
            ``.label`` behind it.
        value: text, or bytes for ``Binary``.
    """

    data_type: str
    value: str | bytes


@dataclass(frozen=True, slots=True)
class SendExtras:
    """What a caller may say about one message beside its body; see ``Producer.send``."""

    delay_s: float | None = None
    group: str | None = None
    dedup_id: str | None = None
    headers: Mapping[str, str] | None = None
    message_id: str | None = None


NO_EXTRAS = SendExtras()


@dataclass(slots=True)
class Outgoing:
    """A packed message on its way to a broker.

    It is never changed. It is not frozen, because that costs 0.5 us of the 7 that a send takes.

    Attributes:
        id: the library's message id; stable over every retry.
        body: the text on the wire.
        attributes: the attributes on the wire, by name.
        delay_s: seconds for which the broker hides the message; None is the queue's own delay.
        group: ordering group on ``*.fifo`` queues, fairness hint elsewhere.
        dedup_id: deduplication id on ``*.fifo`` queues; None takes ``id``. Not used elsewhere.
        sound_bytes: its size, once all of it was looked at and found legal; None until then, and
            in copies. Only :mod:`mqtransport.limits` and the packer set it: they look once, for
            themselves and for the driver.
    """

    id: str
    body: str
    attributes: Mapping[str, Attribute]
    delay_s: float | None = None
    group: str | None = None
    dedup_id: str | None = None
    sound_bytes: int | None = field(default=None, init=False, repr=False, compare=False)


class RawDelivery(NamedTuple):
    """One hand-over of a message as the broker made it, not yet unpacked.

    A tuple, because one is made for every message: a frozen dataclass takes 4 times as long.

    Attributes:
        broker_id: the broker's id of the message.
        receipt: the broker's handle for this delivery.
        body: the text on the wire.
        attributes: the attributes on the wire, by name.
        attempt: how often the broker has delivered the message, this time included; first is 1.
        sent_at: when the broker took the message, Unix seconds; None if it does not say.
        first_received_at: when it was first delivered, Unix seconds; None if it does not say.
        group: its group, None without one.
    """

    broker_id: str
    receipt: str
    body: str
    attributes: Mapping[str, Attribute]
    attempt: int
    sent_at: float | None = None
    first_received_at: float | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a message lies in a dead letter queue.

    Attributes:
        error: class name of the error.
        text: a short text, at most 500 characters; never the body.
        attempts: deliveries made, this one included.
        queue: the queue it came from.
        first_at: when it was first delivered, Unix seconds; None if unknown.
        last_at: when it was given up, Unix seconds.
        consumer: name of the consumer class or function; None if none was found.
    """

    error: str
    text: str
    attempts: int
    queue: str
    first_at: float | None
    last_at: float
    consumer: str | None


@dataclass(frozen=True, slots=True)
class Sent:
    """What a successful send returns.

    Attributes:
        id: the library's message id; the consumer sees it as ``Delivery.id``.
        state: ``"confirmed"``: the broker has it; ``"buffered"``: it is in this process's
            bounded buffer and will be sent (channels with ``confirm=False``).
    """

    id: str
    state: Literal["confirmed", "buffered"]


@dataclass(slots=True)
class Delivery:
    """One hand-over of a message, as a handler may ask for it by annotation.

    Attributes:
        id: the message id: the producer's, or the broker's for messages without one.
        name: the message name.
        headers: the user headers sent with it.
        attempt: how often the broker has delivered the message, this time included,
            interrupted deliveries too; first is 1.
        queue: the queue's name as the code knows it.
        sent_at: when it was sent, Unix seconds; None if unknown.
        received_at: when this delivery came in, Unix seconds.
        group: its group, None without one.
        dead_letter: why it was dead-lettered, if it ever was: on a dead letter queue, and after
            it was moved back from there.
        lease_lost: True once the lease is gone; another consumer may have the message.
    """

    id: str
    name: str
    headers: Mapping[str, str]
    attempt: int
    queue: str
    sent_at: float | None
    received_at: float
    group: str | None = None
    dead_letter: DeadLetter | None = None
    lease_lost: bool = field(default=False)

"""A message as it lies in a SQLite file: attributes as text, checksum, receipt. Pure."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from mqtransport.message import Attribute, Outgoing, RawDelivery

INLINE_CHARS = 2048
"""Longer bodies lie in a table of their own: each lease writes the message's row anew."""


class Record(NamedTuple):
    """A message to store.

    A tuple, like the receipt: one is made for each message, and a frozen dataclass takes 4 times
    as long.

    Attributes:
        id: the broker's id.
        body: the text on the wire.
        attributes: the attributes on the wire, as text.
        group: its group, None without one.
        dedup_id: deduplication id on ordered queues.
        delay_s: seconds for which it is hidden.
        size_bytes: what it counts towards the queue's limit.
    """

    id: str
    body: str
    attributes: str
    group: str | None
    dedup_id: str
    delay_s: float
    size_bytes: int

    @property
    def checksum(self) -> int:
        """What the stored message must still add up to when it is read."""
        body = self.body.encode("utf-8", "surrogatepass")
        return checksum(self.id, self.group, self.attributes, body)

    @property
    def inline(self) -> bool:
        """Whether the body lies in the message's row."""
        return len(self.body) <= INLINE_CHARS


def record_of(item: Outgoing, id: str, size_bytes: int) -> Record:
    """Return a message as it is stored."""
    return Record(  # not by name, which takes twice as long
        id,
        item.body,
        pack_attributes(item.attributes),
        item.group,
        item.dedup_id or item.id,
        item.delay_s or 0.0,
        size_bytes,
    )


class Receipt(NamedTuple):
    """A delivery: which message, and which of its deliveries. As text ``seq.attempt.id``."""

    seq: int
    attempt: int
    id: str

    def __str__(self) -> str:
        return f"{self.seq}.{self.attempt}.{self.id}"


def read_receipt(text: str) -> Receipt | None:
    """Return a receipt, None if the text is none."""
    parts = text.split(".")
    if not text.isascii() or len(parts) != 3:
        return None
    seq, attempt, id_ = parts
    if not (seq.isdigit() and attempt.isdigit()):
        return None
    if len(seq) > 18 or len(attempt) > 18:  # no such number in the file; SQLite's have 63 bits
        return None
    return Receipt(int(seq), int(attempt), id_)


def checksum(id: str, group: str | None, attributes: str, body: bytes) -> int:
    """Return the CRC-32 of everything that must come back as it was; no security."""
    head = f"{id}\0{group or ''}\0{attributes}\0"
    return zlib.crc32(head.encode("utf-8", "surrogatepass") + body)


def pack_attributes(attributes: Mapping[str, Attribute]) -> str:
    """Return attributes as text; binary values as base64."""
    if not attributes:
        return ""
    return json.dumps(
        {
            name: [kind, {"b": base64.b64encode(value).decode("ascii")}]
            if isinstance(value, bytes)
            else [kind, value]
            for name, (kind, value) in attributes.items()
        },
        separators=(",", ":"),
    )


def unpack_attributes(text: str) -> dict[str, Attribute]:
    """Return the attributes that :func:`pack_attributes` packed."""
    if not text:
        return {}
    return {
        name: Attribute(kind, base64.b64decode(value["b"]) if isinstance(value, dict) else value)
        for name, (kind, value) in json.loads(text).items()
    }


def delivery(
    receipt: Receipt,
    *,
    body: str,
    attributes: str,
    group: str | None,
    sent_at: float,
    first_at: float,
) -> RawDelivery:
    """Return a stored message as the seam hands it over."""
    return RawDelivery(
        broker_id=receipt.id,
        receipt=str(receipt),
        body=body,
        attributes=unpack_attributes(attributes),
        attempt=receipt.attempt,
        sent_at=sent_at,
        first_received_at=first_at,
        group=group,
    )

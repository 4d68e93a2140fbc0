"""Receipt handles: opaque, new for each receive, and not to be forged.

A handle carries the queue, the message and the number of the receive, and a keyed digest of them,
so the store need not remember the receipts of messages long gone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
import uuid
from dataclasses import dataclass

from .errors import SQSError

_FIELDS = struct.Struct(">16s16sI")
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt handle, taken apart.

    Args:
        message_id: the message that was received.
        receive: the number of that receive; the latest one rules.
    """

    message_id: str
    receive: int


class ReceiptBook:
    """Writes and reads the receipt handles of one queue.

    Args:
        queue_id: unique for each queue ever created, so that no handle outlives its queue.
        key: a secret of the store.
    """

    def __init__(self, queue_id: bytes, key: bytes) -> None:
        self._queue_id = queue_id
        self._key = key

    def write(self, message_id: str, receive: int) -> str:
        """Return the handle for a receive."""
        fields = _FIELDS.pack(self._queue_id, uuid.UUID(message_id).bytes, receive)
        return "AQEB" + base64.b64encode(self._digest(fields) + fields).decode("ascii")

    def read(self, handle: str) -> Receipt:
        """Return what a handle stands for.

        Raises:
            SQSError: ``ReceiptHandleIsInvalid``: garbage, or of another queue.
        """
        try:
            raw = base64.b64decode(handle.removeprefix("AQEB"), validate=True)
        except (ValueError, binascii.Error):
            raw = b""
        digest, fields = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if not handle.startswith("AQEB") or len(fields) != _FIELDS.size:
            raise _invalid(handle)
        queue_id, message_id, receive = _FIELDS.unpack(fields)
        if queue_id != self._queue_id or digest != self._digest(fields):
            raise _invalid(handle)
        return Receipt(str(uuid.UUID(bytes=message_id)), receive)

    def _digest(self, fields: bytes) -> bytes:
        return hashlib.blake2b(fields, digest_size=_DIGEST_BYTES, key=self._key).digest()


def _invalid(handle: str) -> SQSError:
    return SQSError("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is invalid.')

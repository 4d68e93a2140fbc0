"""The MD5 digests that SQS answers with ("Amazon SQS message metadata", developer guide).

Attributes are sorted by name; each is name, type, one byte for the transport type (1 = string or
number, 2 = binary) and value, where every part but that byte follows its length in 4 bytes, big
end first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from .contents import AttributeValue


def md5_of_body(body: str) -> str:
    """Return the MD5 digest of a message's body, in hexadecimal."""
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


def md5_of_attributes(attributes: Mapping[str, AttributeValue]) -> str:
    """Return the MD5 digest of message attributes, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        value = attributes[name]
        digest.update(_with_length(name.encode()))
        digest.update(_with_length(value.data_type.encode()))
        digest.update(b"\x02" if isinstance(value.value, bytes) else b"\x01")
        digest.update(_with_length(value.encoded))
    return digest.hexdigest()


def _with_length(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part

"""Where HTTP/1.1 messages end: just enough for a proxy that looks at requests one by one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d+)")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding:\s*chunked")
_FRAMING = re.compile(rb"(?i)(content-length|transfer-encoding):")


def canned_response(
    status: str, kind: str, body: bytes, headers: Mapping[str, str] | None = None
) -> bytes:
    """Return a whole response with this status line, content type, body and further headers."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def split(message: bytes) -> tuple[bytes, bytes]:
    """Return a message's head and its body as it is on the wire."""
    head, _, body = message.partition(b"\r\n\r\n")
    return head, body


def cut_body(response: bytes) -> bytes:
    """Return the response with half of its body, and a length that makes it look whole."""
    head, half = _halved(response)
    return head + b"Content-Length: %d\r\n\r\n" % len(half) + half


def cut_chunks(response: bytes) -> bytes:
    """Return the response with half of its body in one chunk, and no last chunk."""
    head, half = _halved(response)
    return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(half) + half + b"\r\n"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Return the next request, head and body; its body must have a ``Content-Length``.

    Raises:
        asyncio.IncompleteReadError: the connection ended before it.
    """
    return await _read(reader, await reader.readuntil(b"\r\n\r\n"))


async def read_response(reader: asyncio.StreamReader) -> bytes:
    """Return the next response, with a body of a ``Content-Length`` or in chunks, as it came.

    Raises:
        asyncio.IncompleteReadError: the connection ended before it.
        ValueError: a chunk has no size.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await _read_chunks(reader) if _CHUNKED.search(head) else await _read(reader, head)


async def _read(reader: asyncio.StreamReader, head: bytes) -> bytes:
    length = _LENGTH.search(head)
    return head + await reader.readexactly(int(length.group(1))) if length else head


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        parts.append(line + await reader.readexactly(size + 2))
        if size == 0:
            return b"".join(parts)


def _halved(response: bytes) -> tuple[bytes, bytes]:
    """Return the head's lines but those about the body's length, and half of the body."""
    head, body = split(response)
    if _CHUNKED.search(head):
        body = _joined(body)
    lines = [line for line in head.split(b"\r\n") if not _FRAMING.match(line)]
    return b"\r\n".join(lines) + b"\r\n", body[: len(body) // 2]


def _joined(chunks: bytes) -> bytes:
    parts: list[bytes] = []
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        parts.append(rest[:length])
        chunks = rest[length + 2 :]
    return b"".join(parts)

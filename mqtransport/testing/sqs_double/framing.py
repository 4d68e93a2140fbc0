"""Where HTTP/1.1 messages end: just enough for a proxy that looks at requests one by one."""

from __future__ import annotations

import asyncio
import re

_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d+)")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding:\s*chunked")


def canned_response(status: str, kind: str, body: bytes) -> bytes:
    """Return a whole response with this status line, content type and body."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


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

"""An SQS stub that is fast enough not to be the bottleneck, in a process of its own.

``python -m benchmarks.stub [--latency-ms N] [--tls]`` prints one line of JSON with its ``url`` (and
``ca``, a file, with TLS), and ends with its standard input. It speaks the JSON protocol. Beside it:

- ``GET /stats?queue=Q``: requests per action since the last reset, and what is in the queue
- ``GET /reset?queue=Q``: count from here
- ``GET /pause?queue=Q`` and ``/resume``: hide what is in the queue, show it
- ``GET /wait?queue=Q``: the stats, as soon as the queue is empty

It keeps to SQS in what clients see of it, and to no limits: for tests there is
``mqtransport.testing.sqs_double``, which is strict, and slower.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.stub_actions import Poll, RefusedError, Server

Dump = Callable[[Any], bytes]
Load = Callable[[bytes], Any]

HEAD = (
    "HTTP/1.1 %d %s\r\nContent-Type: application/x-amz-json-1.0\r\n"
    "x-amzn-RequestId: 00000000-0000-4000-8000-000000000000\r\n%sContent-Length: %d\r\n\r\n"
)
TICK_S = 0.25
"""How often leases that ran out are looked for."""


def codec() -> tuple[Dump, Load]:
    """Return how to write and read JSON: orjson's way where it is installed."""
    try:
        import orjson
    except ImportError:
        return lambda value: json.dumps(value).encode(), json.loads
    return orjson.dumps, orjson.loads


class Connection(asyncio.Protocol):
    """One client's connection: requests one after the other."""

    def __init__(self, server: Server, latency_s: float, dump: Dump, load: Load) -> None:
        self._server = server
        self._latency_s = latency_s
        self._dump = dump
        self._load = load
        self._buffer = b""
        self._poll: Poll | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self._transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """End the poll whose answer nobody would read."""
        if self._poll is not None:
            self._poll.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            size = int(_header(head, b"content-length") or 0)
            if len(self._buffer) < end + 4 + size:
                if b"expect: 100-continue" in head and len(self._buffer) == end + 4:
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            path = self._buffer[: self._buffer.find(b"\r\n")].split(b" ")[1]
            body = self._buffer[end + 4 : end + 4 + size]
            target = _header(self._buffer[:end], b"amazonsqs.", after=b"")
            self._buffer = self._buffer[end + 4 + size :]
            self._handle(path, target, body)

    def _handle(self, path: bytes, target: bytes | None, body: bytes) -> None:
        try:
            if target is None:
                answer = self._server.control(*_path_and_query(path), self._answer_now)
            else:
                answer = self._server.act(target.decode(), self._load(body), self._answer)
        except RefusedError as error:
            kind = f"com.amazonaws.sqs#{error.kind}"
            more = f"x-amzn-query-error: {error.code};Sender\r\n"
            self._write(400, {"__type": kind, "message": error.text}, more)
            return
        if isinstance(answer, Poll):
            self._poll = answer
        elif target is None:
            self._answer_now(answer)
        else:
            self._answer(answer)

    def _answer(self, value: Any) -> None:
        self._poll = None
        if self._latency_s:
            loop = asyncio.get_running_loop()
            loop.call_later(self._latency_s, self._write, 200, value)
        else:
            self._write(200, value)

    def _answer_now(self, value: Any) -> None:
        self._write(200, value)

    def _write(self, status: int, value: Any, more: str = "") -> None:
        body = self._dump(value)
        reason = "OK" if status == 200 else "Bad Request"
        self._transport.write((HEAD % (status, reason, more, len(body))).encode() + body)


def _header(head: bytes, name: bytes, after: bytes = b":") -> bytes | None:
    """Return what stands behind a name up to the end of its line, in whatever case it is."""
    start = head.lower().find(name + after)
    if start < 0:
        return None
    start += len(name + after)
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


def _path_and_query(path: bytes) -> tuple[str, dict[str, str]]:
    parts = urlsplit(path.decode())
    return parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()}


async def serve(latency_s: float, tls: bool) -> None:
    """Serve until standard input ends."""
    with contextlib.ExitStack() as stack:
        context, told = None, {}
        if tls:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            context, told["ca"] = certificate(folder)
        dump, load = codec()
        server = Server()
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(
            lambda: Connection(server, latency_s, dump, load), "127.0.0.1", 0, ssl=context
        )
        scheme = "https" if tls else "http"
        server.url = f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        print(json.dumps({"url": server.url, **told}), flush=True)
        ended = loop.create_task(_input_ended())
        while not ended.done():
            await asyncio.wait([ended], timeout=TICK_S)
            server.tick()
        listening.close()


async def _input_ended() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def certificate(folder: Path) -> tuple[ssl.SSLContext, str]:
    """Return a server context with a new certificate, and the file of the authority behind it.

    Two certificates, since not every client takes an authority's own for a server's.
    """
    key, ca, asked, file = (
        str(folder / one) for one in ("key.pem", "ca.pem", "csr.pem", "crt.pem")
    )
    more = folder / "extensions"
    more.write_text("basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    ca_key = str(folder / "ca.key")
    may = ("-days", "2", "-subj", "/CN=bench", "-addext", "keyUsage=critical,keyCertSign")
    _openssl("req", "-x509", *kind, *may, "-keyout", ca_key, "-out", ca)
    _openssl("req", "-new", *kind, "-subj", "/CN=localhost", "-keyout", key, "-out", asked)
    signing = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2")
    _openssl("x509", "-req", "-in", asked, *signing, "-extfile", str(more), "-out", file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return context, ca


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--tls", action="store_true")
    chosen = parser.parse_args()
    run(serve(chosen.latency_ms / 1000, chosen.tls))

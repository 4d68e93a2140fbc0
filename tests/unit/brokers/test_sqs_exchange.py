"""The fast path's own requests: like aiohttp's, over its connections, each with its own answer."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from mqtransport.brokers.sqs import SQSBroker, client
from mqtransport.brokers.sqs.exchange import Exchange, ExchangeError
from mqtransport.brokers.sqs.fast import FastPath
from mqtransport.errors import BrokerError, BrokerUnavailableError
from mqtransport.message import Outgoing
from tests.loops import LOOPS
from tests.unit.brokers.certificates import make_certificate
from tests.unit.brokers.listening import Listening, connected

OURS = b"\r\ncontent-length: "
"""Only in the head of our own requests; aiohttp writes it in capitals."""

DONE = b'{"Successful": [{"Id": "0"}], "Failed": []}'
REFUSED = b'{"Successful": [], "Failed": [{"Id": "0", "Code": "InternalError"}]}'

Respond = Callable[["Wire", asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes = DONE, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%s" % (headers, len(body), body)


async def confirm(wire: Wire, writer: asyncio.StreamWriter) -> None:
    writer.write(answer())


async def refuse(wire: Wire, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(REFUSED))


def last(whole: bytes) -> Respond:
    """Answer so, and close the connection."""

    async def respond(wire: Wire, writer: asyncio.StreamWriter) -> None:
        writer.write(whole)
        await writer.drain()
        writer.close()

    return respond


class Wire(Listening):
    """Answers byte for byte as it is told.

    Attributes:
        how: how it answers.
        came: set by each request.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.tls = tls
        self.how: Respond = confirm
        self.came = asyncio.Event()

    @property
    def url(self) -> str:
        if self.tls is None:
            return f"http://127.0.0.1:{self.port}"
        return f"https://localhost:{self.port}"

    @property
    def queue(self) -> str:
        return f"{self.url}/000000000000/orders"

    async def respond(self, writer: asyncio.StreamWriter) -> None:
        self.came.set()
        await self.how(self, writer)


@pytest.fixture(scope="module", params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every claim holds on both loops: the path touches sockets, transports and TLS."""
    return request.param


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with Wire().serving() as started:
        yield started


@contextlib.asynccontextmanager
async def learnt(wire: Wire, **given: Any) -> AsyncIterator[SQSBroker]:
    """A broker that makes its next request by itself."""
    async with connected(wire.url, **given) as broker:
        await ack(broker, wire)  # aiobotocore's request
        await ack(broker, wire)  # aiohttp's
        wire.came.clear()
        yield broker


@pytest.fixture
async def broker(wire: Wire) -> AsyncIterator[SQSBroker]:
    async with learnt(wire, timeout_s=2.0) as made:
        yield made


async def ack(broker: SQSBroker, wire: Wire) -> BrokerError | None:
    (result,) = await broker.ack(wire.queue, ["r"])
    return result


def fields(head: bytes) -> dict[str, str]:
    """The head's request line and headers that two equal calls have in common."""
    first, *lines = head.decode().rstrip().split("\r\n")
    found = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    del found["authorization"], found["x-amz-date"]
    return {"": first, **found}


class TestRequests:
    async def test_they_are_aiohttp_s_but_for_the_order_and_case_of_headers(
        self, wire: Wire, broker: SQSBroker
    ) -> None:
        await ack(broker, wire)
        assert [OURS in head for head in wire.heads] == [False, False, True]
        assert fields(wire.heads[1]) == fields(wire.heads[2])

    async def test_one_connection_serves_them_one_after_the_other(
        self, wire: Wire, broker: SQSBroker
    ) -> None:
        for _ in range(5):
            assert await ack(broker, wire) is None
        assert wire.connections == 1

    async def test_they_wait_for_a_connection_where_no_more_are_allowed(self, wire: Wire) -> None:
        at_once: list[int] = []

        async def respond(wire: Wire, writer: asyncio.StreamWriter) -> None:
            at_once.append(wire.connections)
            await asyncio.sleep(0)
            writer.write(answer())

        async with learnt(wire, control_connections=1) as broker:
            wire.how = respond
            results = await asyncio.gather(*(ack(broker, wire) for _ in range(5)))
        assert results == [None] * 5
        assert at_once == [1] * 5

    async def test_large_ones_are_aiohttp_s(self, wire: Wire, broker: SQSBroker) -> None:
        for size, ours in ((1000, True), (600_000, False), (1000, True)):
            await broker.send(wire.queue, [Outgoing("m", "x" * size, {})])
            assert (OURS in wire.heads[-1]) is ours

    async def test_a_header_of_two_lines_is_not_sent(self, wire: Wire, broker: SQSBroker) -> None:
        await ack(broker, wire)
        seen = len(wire.heads)
        for value in ("a\r\nx-evil: 1", "a\nb", "a\x00"):
            with pytest.raises(ExchangeError, match="end of a line"):
                await exchange_of(broker).post({"x-amz-security-token": value}, b"{}")
        assert len(wire.heads) == seen
        await exchange_of(broker).post({"x-amz-security-token": "a\u00a0b"}, b"{}")
        assert "a\u00a0b".encode() in wire.heads[-1]

    async def test_where_cookies_are_set_aiohttp_makes_them(
        self, wire: Wire, broker: SQSBroker, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        await ack(broker, wire)
        assert OURS in wire.heads[-1]

        async def baking(wire: Wire, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(headers=b"set-cookie: node=1\r\n"))

        wire.how = baking
        for _ in range(2):  # at an address without a name aiohttp keeps no cookie
            assert await ack(broker, wire) is None
        assert [OURS in head for head in wire.heads[-2:]] == [True, False]
        assert caplog.text.count("it is given cookies") == 1

    async def test_who_traces_aiohttp_sees_all_of_them(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As OpenTelemetry's instrumentation of aiohttp's client does it.
        seen: list[Any] = []

        async def note(session: Any, context: Any, params: Any) -> None:
            seen.append(params.url)

        tracing = aiohttp.TraceConfig()
        tracing.on_request_end.append(note)
        begin_sessions_with(monkeypatch, trace_configs=[tracing])
        async with learnt(wire) as broker:
            for _ in range(3):
                await ack(broker, wire)
        assert len(seen) == len(wire.heads) == 5

    async def test_they_are_aiohttp_s_where_it_adds_headers_that_may_change(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begin_sessions_with(monkeypatch, headers={"x-mark": "here"})
        async with learnt(wire) as broker:
            for _ in range(3):
                await ack(broker, wire)
        assert all(b"x-mark: here" in head and OURS not in head for head in wire.heads)


class TestAnswers:
    async def test_one_that_nobody_asked_for_confirms_nothing(
        self, wire: Wire, broker: SQSBroker
    ) -> None:
        async def twice(wire: Wire, writer: asyncio.StreamWriter) -> None:
            writer.write(answer() + answer())
            await writer.drain()

        await ack(broker, wire)
        wire.how = twice
        assert await ack(broker, wire) is None
        wire.how = refuse
        assert isinstance(await ack(broker, wire), BrokerUnavailableError)

    async def test_one_that_comes_in_an_idle_moment_confirms_nothing(
        self, wire: Wire, broker: SQSBroker
    ) -> None:
        held: list[asyncio.StreamWriter] = []

        async def hold(wire: Wire, writer: asyncio.StreamWriter) -> None:
            held.append(writer)
            writer.write(answer())

        wire.how = hold
        assert await ack(broker, wire) is None
        held[0].write(answer())
        await held[0].drain()
        await until_spoiled(broker)
        wire.how = refuse
        assert isinstance(await ack(broker, wire), BrokerUnavailableError)
        assert wire.connections == 2

    async def test_one_to_a_cancelled_request_confirms_nothing(
        self, wire: Wire, broker: SQSBroker
    ) -> None:
        late: list[asyncio.StreamWriter] = []

        async def hold(wire: Wire, writer: asyncio.StreamWriter) -> None:
            late.append(writer)

        async def refuse(wire: Wire, writer: asyncio.StreamWriter) -> None:
            late[0].write(answer())
            writer.write(answer(REFUSED))

        wire.how = hold
        waiting = asyncio.create_task(ack(broker, wire))
        async with asyncio.timeout(5):
            await wire.came.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        wire.how = refuse
        assert isinstance(await ack(broker, wire), BrokerUnavailableError)
        assert wire.connections == 2

    @pytest.mark.parametrize(
        "whole",
        [
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + answer(),
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
            % (len(DONE), DONE),
            answer(headers=b"connection: close\r\n"),
        ],
        ids=["behind two that are none yet", "in chunks", "the last of its connection"],
    )
    async def test_they_are_read_to_their_end_whatever_their_form(
        self, wire: Wire, broker: SQSBroker, whole: bytes
    ) -> None:
        async def respond(wire: Wire, writer: asyncio.StreamWriter) -> None:
            for at in range(0, len(whole), 7):
                writer.write(whole[at : at + 7])
                await asyncio.sleep(0)

        wire.how = respond
        for _ in range(2):
            assert await ack(broker, wire) is None

    async def test_one_without_a_length_ends_with_its_connection(
        self, wire: Wire, broker: SQSBroker
    ) -> None:
        wire.how = last(b"HTTP/1.1 200 OK\r\n\r\n" + DONE)
        for _ in range(2):
            assert await ack(broker, wire) is None

    @pytest.mark.parametrize(
        "part",
        [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", b"\x00\x01 nonsense\r\n\r\n"],
    )
    async def test_half_of_one_is_none(self, wire: Wire, broker: SQSBroker, part: bytes) -> None:
        wire.how = last(part)
        for _ in range(2):
            with pytest.raises(BrokerUnavailableError) as caught:
                await ack(broker, wire)
            assert caught.value.maybe_done

    async def test_one_that_changes_the_protocol_is_an_answer(
        self, wire: Wire, broker: SQSBroker
    ) -> None:
        async def respond(wire: Wire, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n")

        wire.how = respond
        result = await ack(broker, wire)  # without waiting for another
        assert isinstance(result, BrokerUnavailableError)
        assert result.maybe_done

    async def test_one_that_is_compressed_though_none_was_to_be_confirms_nothing(
        self, wire: Wire, broker: SQSBroker
    ) -> None:
        async def respond(wire: Wire, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(gzip.compress(DONE), b"content-encoding: gzip\r\n"))

        wire.how = respond
        with pytest.raises(BrokerUnavailableError) as caught:
            await ack(broker, wire)
        assert caught.value.maybe_done

    async def test_a_connection_that_was_closed_meanwhile_fails_no_request(
        self, wire: Wire, broker: SQSBroker
    ) -> None:
        wire.how = last(answer())
        for _ in range(3):
            assert await ack(broker, wire) is None
            await until_spoiled(broker)
        assert wire.connections == 3

    async def test_one_that_comes_before_all_was_sent_costs_the_next_request_nothing(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As a gateway does that refuses a body by its head, and never reads it.
        slow_link(monkeypatch)
        async with learnt(wire, control_connections=1, timeout_s=5.0) as broker:
            wire.refusal = answer()  # says yes without a look at it
            await broker.send(wire.queue, [Outgoing("m", "x" * 500_000, {})])
            assert OURS in wire.heads[-1]
            wire.refusal = None
            assert await ack(broker, wire) is None
        assert wire.connections == 2

    async def test_one_that_never_comes_leaves_no_socket_to_a_deaf_peer(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sockets = slow_link(monkeypatch)
        async with learnt(wire, control_connections=1, timeout_s=0.5) as broker:
            wire.refusal = b""  # and the rest is not read
            with pytest.raises(BrokerUnavailableError, match="no answer within") as caught:
                await broker.send(wire.queue, [Outgoing("m", "x" * 500_000, {})])
            assert caught.value.maybe_done
            assert OURS in wire.heads[-1]
            async with asyncio.timeout(10):
                while sockets[-1].fileno() != -1:  # noqa: ASYNC110 - a matter of loop turns
                    await asyncio.sleep(0)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_a_refusal_before_all_was_read_costs_the_next_request_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
    ) -> None:
        # The kernel takes all of it, or what TLS has handed on is in nobody's count.
        context = None
        if scheme == "https":
            certificate = make_certificate(tmp_path)
            monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
        async with (
            Wire(context).serving(context) as wire,
            learnt(wire, control_connections=1, timeout_s=5.0) as broker,
        ):
            wire.refusal = answer(b"{}").replace(b"200 OK", b"413 Content Too Large")
            with pytest.raises(BrokerUnavailableError, match="413"):
                await broker.send(wire.queue, [Outgoing("m", "x" * 500_000, {})])
            assert OURS in wire.heads[-1]
            wire.refusal = None
            assert await ack(broker, wire) is None
            assert wire.connections == 2

    async def test_a_small_refusal_keeps_its_connection(self, wire: Wire) -> None:
        # Else SQS, when it throttles, would get a new connection for each request.
        async def refuse(wire: Wire, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(b"{}").replace(b"200 OK", b"503 Slow Down"))

        async with learnt(wire, control_connections=1) as broker:
            wire.how = refuse
            for _ in range(3):
                with pytest.raises(BrokerUnavailableError, match="503"):
                    await ack(broker, wire)
        assert wire.connections == 1


class TestNewConnections:
    async def test_one_of_no_use_is_not_followed_by_more(
        self, wire: Wire, broker: SQSBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As TLS shows it: what the server sent with the end of its handshake is there at once.
        connect, made = aiohttp.TCPConnector._create_connection, []

        async def spoiled(self: Any, *given: Any) -> Any:
            made.append(await connect(self, *given))
            made[-1].data_received(answer())
            return made[-1]

        use_up(broker)
        monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", spoiled)
        with pytest.raises(BrokerUnavailableError):
            await ack(broker, wire)
        assert len(made) == 1

    async def test_one_that_is_not_made_in_time_has_sent_nothing(
        self, wire: Wire, broker: SQSBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def late(self: Any, *given: Any) -> Any:
            raise TimeoutError

        use_up(broker)
        monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", late)
        with pytest.raises(BrokerUnavailableError) as caught:
            await ack(broker, wire)
        assert not caught.value.maybe_done


class TestAnotherAiohttp:
    async def test_one_without_what_tells_a_useless_connection_gets_its_connection_back(
        self, broker: SQSBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        exchange = exchange_of(broker)
        monkeypatch.setattr(aiohttp.connector.Connection, "protocol", object())
        with pytest.raises(ExchangeError, match="should_close"):
            await exchange.post({}, b"{}")
        assert not exchange._connector._acquired

    async def test_one_that_wants_other_arguments_gets_no_request_of_ours(
        self,
        wire: Wire,
        broker: SQSBroker,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, "mqtransport")
        want_timers(monkeypatch)
        for _ in range(2):
            assert await ack(broker, wire) is None
        assert len(wire.heads) == 4, "nothing was sent twice"
        assert not [head for head in wire.heads if OURS in head]
        (line,) = [line for line in caplog.messages if "by aiohttp" in line]
        assert "timer" in line

    async def test_a_request_that_began_earlier_teaches_nothing_any_more(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[asyncio.StreamWriter] = []

        async def hold(wire: Wire, writer: asyncio.StreamWriter) -> None:
            held.append(writer)

        async with connected(wire.url) as broker:
            await ack(broker, wire)
            wire.how = hold
            wire.came.clear()
            earlier = asyncio.create_task(ack(broker, wire))
            async with asyncio.timeout(5):
                await wire.came.wait()
            wire.how = confirm
            await ack(broker, wire)
            want_timers(monkeypatch)
            assert await ack(broker, wire) is None
            held[0].write(answer())
            assert await earlier is None
            assert fast_path_of(broker)._exchange is None

    async def test_one_that_answers_otherwise_leaves_one_outcome_unknown_and_no_more(
        self,
        wire: Wire,
        broker: SQSBroker,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        read, failing = ResponseHandler.read, [AttributeError("no such thing")]

        async def read_worse(self: Any) -> Any:
            if failing:
                raise failing.pop()
            return await read(self)

        caplog.set_level(logging.INFO, "mqtransport")
        monkeypatch.setattr(ResponseHandler, "read", read_worse)
        with pytest.raises(BrokerUnavailableError) as caught:
            await ack(broker, wire)
        assert caught.value.maybe_done
        assert await ack(broker, wire) is None
        assert OURS not in wire.heads[-1]
        assert len([line for line in caplog.messages if "by aiohttp" in line]) == 1


def want_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make aiohttp want an argument that our requests do not give; its own give it."""
    set_params = ResponseHandler.set_response_params

    def needs_timer(self: Any, *, timer: Any, **given: Any) -> None:
        set_params(self, timer=timer, **given)

    monkeypatch.setattr(ResponseHandler, "set_response_params", needs_timer)


def begin_sessions_with(monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    """Have aiohttp's sessions begin with more arguments, as whoever instruments them does."""
    begin = aiohttp.ClientSession.__init__

    def begin_so(self: Any, *given: Any, **named: Any) -> None:
        begin(self, *given, **more, **named)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", begin_so)


def fast_path_of(broker: SQSBroker) -> FastPath:
    clients = broker._clients
    assert clients is not None
    assert clients.control.fast is not None
    return clients.control.fast


def slow_link(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """Let the kernel take less than a large body; return the sockets that are made."""
    make_socket, sockets = client._keep_alive_socket, []

    def small(address: tuple[Any, ...]) -> socket.socket:
        made = make_socket(address)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        sockets.append(made)
        return made

    monkeypatch.setattr(client, "_keep_alive_socket", small)
    return sockets


def exchange_of(broker: SQSBroker) -> Exchange:
    found = fast_path_of(broker)._exchange
    assert found is not None
    return found


def use_up(broker: SQSBroker) -> None:
    """Leave no connection in the pool."""
    for line in exchange_of(broker)._connector._conns.values():
        for protocol, _ in line:
            protocol.close()


async def until_spoiled(broker: SQSBroker) -> None:
    """Wait until the client has seen what came, or ended, on its pooled connection."""
    async with asyncio.timeout(5):
        while True:
            pooled = [
                one[0] for line in exchange_of(broker)._connector._conns.values() for one in line
            ]
            if all(one.should_close or not one.is_connected() for one in pooled):
                return
            await asyncio.sleep(0.001)

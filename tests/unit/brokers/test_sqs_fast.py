"""When the fast path is taken, when it is left, and that it goes where aiobotocore goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from mqtransport.brokers.sqs import SQSBroker, client
from mqtransport.brokers.sqs import codec as module
from mqtransport.brokers.sqs.credentials import Keys
from mqtransport.brokers.sqs.fast import FastPath, Session
from mqtransport.brokers.sqs.signing import Signer
from mqtransport.clock import SystemClock
from mqtransport.errors import BrokerUnavailableError
from mqtransport.message import Outgoing
from tests.unit.brokers.certificates import make_certificate
from tests.unit.brokers.listening import Listening, connected

BY_AIOBOTOCORE = b"amz-sdk-invocation-id"
PATHS = pytest.mark.parametrize("fast_path", [True, False], ids=["fast path", "aiobotocore"])


class Listener(Listening):
    """Gives one answer to all."""

    def __init__(self) -> None:
        super().__init__()
        self.status = b"200 OK"
        self.headers = b""
        self.body = b"{}"

    async def respond(self, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 %s\r\nx-amzn-requestid: r\r\n%scontent-length: %d\r\n\r\n%s"
            % (self.status, self.headers, len(self.body), self.body)
        )


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with Listener().serving() as started:
        yield started


async def call_each_hot_verb(broker: SQSBroker, queue: str) -> None:
    # The listener's answers confirm nothing; what counts is which way the requests took.
    await broker.send(queue, [Outgoing("m", "{}", {})])
    await broker.ack(queue, ["r"])
    await broker.release(queue, ["r"], delay_s=0)
    await broker.extend(queue, ["r"], lease_s=30)
    await broker.receive(queue, max_messages=1, wait_s=0, lease_s=30)


def agent_in(head: bytes) -> bytes:
    (line,) = [one for one in head.split(b"\r\n") if one.lower().startswith(b"user-agent: ")]
    return line.split(b": ")[1]


def queue_on(listener: Listener, scheme: str = "http") -> str:
    return f"{scheme}://localhost:{listener.port}/000000000000/orders"


class TestWhichWay:
    async def test_only_the_first_request_of_each_client_is_aiobotocore_s(
        self, listener: Listener
    ) -> None:
        async with connected(f"http://localhost:{listener.port}") as broker:
            await call_each_hot_verb(broker, queue_on(listener))
            assert [BY_AIOBOTOCORE in head for head in listener.heads] == [1, 0, 0, 0, 1]
            await call_each_hot_verb(broker, queue_on(listener))
            assert not [head for head in listener.heads[5:] if BY_AIOBOTOCORE in head]

    async def test_a_first_request_that_fails_has_shown_the_way_all_the_same(self) -> None:
        listener = Listener()
        async with listener.serving():
            url = f"http://localhost:{listener.port}"
            queue = queue_on(listener)
            async with connected(url) as broker:
                listener.status = b"503 Busy"
                with pytest.raises(BrokerUnavailableError):
                    await broker.send(queue, [Outgoing("m", "{}", {})])
                listener.status = b"200 OK"
                await broker.send(queue, [Outgoing("m", "{}", {})])
        assert [BY_AIOBOTOCORE in head for head in listener.heads] == [True, False]

    async def test_switched_off_every_request_is_aiobotocore_s(self, listener: Listener) -> None:
        async with connected(f"http://localhost:{listener.port}", fast_path=False) as broker:
            for _ in range(2):
                await call_each_hot_verb(broker, queue_on(listener))
        assert len(listener.heads) == 10
        assert all(BY_AIOBOTOCORE in head for head in listener.heads)

    async def test_a_header_that_only_aiobotocore_can_make_keeps_it_off_and_is_logged_once(
        self,
        listener: Listener,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        # botocore adds a trace header inside Lambda, a new one for each invocation.
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
        monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-2-3;Sampled=1")
        caplog.set_level(logging.INFO, "mqtransport")
        async with connected(f"http://localhost:{listener.port}") as broker:
            for _ in range(2):
                await call_each_hot_verb(broker, queue_on(listener))
        assert all(BY_AIOBOTOCORE in head for head in listener.heads)
        assert all(b"X-Amzn-Trace-Id: Root=1-2-3" in head for head in listener.heads)
        lines = [line for line in caplog.messages if "fast path is off" in line]
        assert len(lines) == 2, "one for each of the two clients"
        assert "it sends x-amzn-trace-id" in lines[0]

    async def test_inside_lambda_it_is_off_also_before_the_first_invocation(
        self,
        listener: Listener,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        # While a function starts there is no trace yet, so its first request carries none.
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
        monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
        caplog.set_level(logging.INFO, "mqtransport")
        async with connected(f"http://localhost:{listener.port}") as broker:
            await broker.send(queue_on(listener), [Outgoing("m", "{}", {})])
            monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-2-3;Sampled=1")
            await broker.send(queue_on(listener), [Outgoing("m", "{}", {})])
        traced = [b"X-Amzn-Trace-Id: Root=1-2-3" in head for head in listener.heads]
        assert traced == [False, True]
        assert [line for line in caplog.messages if "fast path is off" in line]


class FakeRequest:
    method = "POST"
    url = "http://localhost/"
    body = b"{}"

    def __init__(self, **headers: str) -> None:
        self.headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": "AmazonSQS.ReceiveMessage",
            "X-Amz-Date": "20260101T000000Z",
            "User-Agent": "mqtransport",
            "Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/r/sqs/aws4_request, "
            "SignedHeaders=host, Signature=00",
        } | headers


class TestLearning:
    @pytest.mark.parametrize(
        ("request_", "why"),
        [
            (FakeRequest(), "its signature is another"),
            (FakeRequest(Authorization="Bearer x"), "Signature Version 4"),
            (FakeRequest(**{"Content-Type": "application/x-www-form-urlencoded"}), "JSON"),
            (FakeRequest(**{"X-Amz-Target": "Other.Thing"}), "JSON"),
            (FakeRequest(**{"X-Amz-Date": "yesterday"}), "ValueError"),
        ],
    )
    async def test_what_it_cannot_sign_alike_keeps_it_off_for_good(
        self, request_: FakeRequest, why: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "mqtransport")
        path = FastPath(Keys("key", "CANARYsecret").get_frozen_credentials, SystemClock())
        session = path.session_class()()
        for _ in range(2):
            await path.learn(session, request_)
        assert not path.ready
        (line,) = caplog.messages
        assert why in line
        assert "CANARY" not in line

    async def test_the_proxy_is_aiobotocore_s_however_its_session_was_given_it(self) -> None:
        keys = Keys("key", "secret")
        signer = Signer(
            "localhost", "/", "r", "sqs", {"content-type": "application/x-amz-json-1.0"}
        )
        signed = signer.headers(keys, "AmazonSQS.ReceiveMessage", FakeRequest.body, 0.0)
        path = FastPath(keys.get_frozen_credentials, SystemClock())
        async with path.session_class()(True, {"http": "http://proxy:3128"}) as session:
            await path.learn(session, FakeRequest(**signed))
        assert path._route is not None
        assert path._route.proxy["proxy"] == "http://proxy:3128"

    @PATHS
    @pytest.mark.parametrize(
        ("name", "value"),
        [("AWS_CA_BUNDLE", "/nonexistent.pem"), ("HTTP_PROXY", "http://pro xy:31:28")],
    )
    async def test_learning_does_not_change_what_a_request_fails_with(
        self,
        listener: Listener,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        fast_path: bool,
        name: str,
        value: str,
    ) -> None:
        caplog.set_level(logging.INFO, "mqtransport")
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv(name, value)
        async with connected(f"http://localhost:{listener.port}", fast_path=fast_path) as broker:
            with pytest.raises(BrokerUnavailableError) as caught:
                await broker.send(queue_on(listener), [Outgoing("m", "{}", {})])
        assert "HTTPClientError" in str(caught.value)
        assert not caplog.messages

    async def test_a_key_that_changed_in_between_says_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "mqtransport")
        path = FastPath(Keys("newer", "secret").get_frozen_credentials, SystemClock())
        await path.learn(path.session_class()(), FakeRequest())
        assert not path.ready
        assert not caplog.messages


class TestTransport:
    @PATHS
    async def test_both_ways_go_through_the_proxy_of_the_environment(
        self, listener: Listener, monkeypatch: pytest.MonkeyPatch, fast_path: bool
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://localhost:{listener.port}")
        monkeypatch.setenv("NO_PROXY", "")
        async with connected("http://sqs.invalid", fast_path=fast_path) as broker:
            for _ in range(2):
                await call_each_hot_verb(broker, "http://sqs.invalid/000000000000/orders")
        assert len(listener.heads) == 10
        assert all(head.startswith(b"POST http://sqs.invalid/ ") for head in listener.heads)

    async def test_a_way_through_a_proxy_does_not_show_its_password(
        self, listener: Listener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:CANARYpassword@localhost:{listener.port}")
        monkeypatch.setenv("NO_PROXY", "")
        path = FastPath(Keys("key", "secret").get_frozen_credentials, SystemClock())
        monkeypatch.setattr(client, "FastPath", lambda keys, clock: path)
        async with connected("http://sqs.invalid") as broker:
            await broker.send("http://sqs.invalid/0/orders", [Outgoing("m", "{}", {})])
        assert path.ready
        assert "CANARY" not in repr(path._route)

    @PATHS
    async def test_no_traceback_shows_the_password_of_a_proxy_that_refuses(
        self, monkeypatch: pytest.MonkeyPatch, fast_path: bool
    ) -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:CANARYpassword@localhost:{port}")
        monkeypatch.setenv("NO_PROXY", "")
        async with server, connected("https://sqs.invalid", fast_path=fast_path) as broker:
            for _ in range(2):
                with pytest.raises(BrokerUnavailableError) as caught:
                    await broker.send("https://sqs.invalid/0/orders", [Outgoing("m", "{}", {})])
                assert not caught.value.maybe_done
                assert "CANARY" not in "".join(traceback.format_exception(caught.value))

    @PATHS
    async def test_both_ways_tell_the_proxy_the_host_where_botocore_is_told_to(
        self, listener: Listener, monkeypatch: pytest.MonkeyPatch, fast_path: bool
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", f"http://localhost:{listener.port}")
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("BOTO_EXPERIMENTAL__ADD_PROXY_HOST_HEADER", "true")
        told: list[Any] = []
        request = aiohttp.ClientSession._request

        async def noting(self: Any, *given: Any, **named: Any) -> Any:
            told.append(named["proxy_headers"])
            return await request(self, *given, **named)

        monkeypatch.setattr(aiohttp.ClientSession, "_request", noting)
        async with connected("http://sqs.invalid", fast_path=fast_path) as broker:
            await call_each_hot_verb(broker, "http://sqs.invalid/000000000000/orders")
        assert told == [{"host": "sqs.invalid"}] * 5

    @PATHS
    async def test_both_ways_trust_the_bundle_that_aiobotocore_is_told_to_trust(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast_path: bool
    ) -> None:
        certificate = make_certificate(tmp_path)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(certificate)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        async with (
            Listener().serving(server) as listener,
            connected(f"https://localhost:{listener.port}", fast_path=fast_path) as broker,
        ):
            for _ in range(2):
                await call_each_hot_verb(broker, queue_on(listener, "https"))
        assert [BY_AIOBOTOCORE in head for head in listener.heads[5:]] == [not fast_path] * 5

    async def test_a_fast_request_refuses_a_certificate_that_nobody_vouches_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trusted, other = make_certificate(tmp_path), make_certificate(tmp_path, "other.pem")
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(trusted)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
        listener = Listener()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(listener.serving(server))
            url, queue = f"https://localhost:{listener.port}", queue_on(listener, "https")
            broker = await stack.enter_async_context(connected(url))
            await broker.send(queue, [Outgoing("m", "{}", {})])
            # A new connection is made after the server has changed its certificate.
            server.load_cert_chain(other)
            listener.headers = b"connection: close\r\n"
            await broker.send(queue, [Outgoing("m", "{}", {})])
            with pytest.raises(BrokerUnavailableError) as caught:
                await broker.send(queue, [Outgoing("m", "{}", {})])
        assert not caught.value.maybe_done
        assert [BY_AIOBOTOCORE in head for head in listener.heads] == [True, False]

    @PATHS
    async def test_both_ways_tell_the_server_the_driver_s_own_user_agent(
        self, listener: Listener, fast_path: bool
    ) -> None:
        # botocore's is rebuilt for each call, and names the system; to ours it adds its version.
        async with connected(f"http://localhost:{listener.port}", fast_path=fast_path) as broker:
            for _ in range(2):
                await call_each_hot_verb(broker, queue_on(listener))
        agents = [agent_in(head) for head in listener.heads]
        assert [agent.split()[0] for agent in agents] == [b"mqtransport"] * 10
        assert len(set(agents)) == 1

    async def test_a_signed_request_follows_no_redirect(self, listener: Listener) -> None:
        async with Listener().serving() as elsewhere:
            url, queue = f"http://localhost:{listener.port}", queue_on(listener)
            async with connected(url) as broker:
                await broker.send(queue, [Outgoing("m", "{}", {})])
                listener.status = b"307 Temporary Redirect"
                listener.headers = b"location: http://localhost:%d/\r\n" % elsewhere.port
                with pytest.raises(BrokerUnavailableError):
                    await broker.send(queue, [Outgoing("m", "{}", {})])
            assert not elsewhere.heads

    @pytest.mark.parametrize("status", [b"307 Temporary Redirect", b"308 Permanent Redirect"])
    async def test_where_endpoints_redirect_aiobotocore_goes_on_alone(
        self, listener: Listener, caplog: pytest.LogCaptureFixture, status: bytes
    ) -> None:
        caplog.set_level(logging.INFO, "mqtransport.brokers.sqs.fast")
        queue, message = queue_on(listener), Outgoing("m", "{}", {})
        async with (
            Listener().serving() as elsewhere,
            connected(f"http://localhost:{listener.port}") as broker,
        ):
            listener.status = status
            listener.headers = b"location: http://localhost:%d/\r\n" % elsewhere.port
            await broker.send(queue, [message])
            lost = await asyncio.gather(
                *(broker.send(queue, [message]) for _ in range(3)), return_exceptions=True
            )
            assert all(isinstance(one, BrokerUnavailableError) for one in lost)
            for _ in range(3):
                await broker.send(queue, [message])
        assert [BY_AIOBOTOCORE in head for head in elsewhere.heads] == [True] * 4
        assert caplog.messages == [
            "SQS: the fast path is off, aiobotocore makes every call "
            "(it is sent elsewhere, which aiobotocore follows)"
        ]


def test_orjson_reads_and_writes_where_it_is_installed() -> None:
    assert (module._dumps, module._loads) == (orjson.dumps, orjson.loads)


@pytest.mark.parametrize("library", [None, orjson], ids=["pydantic", "orjson"])
async def test_a_message_that_a_strict_reader_refuses_takes_no_neighbour_along(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, library: Any
) -> None:
    monkeypatch.setattr(module, "_loads", module.codec(library)[1])
    one = (
        b'{"MessageId": "%d", "ReceiptHandle": "r", "Body": "%s", '
        b'"Attributes": {"ApproximateReceiveCount": "1"}}'
    )
    async with connected(f"http://localhost:{listener.port}") as broker:
        queue = queue_on(listener)
        await broker.receive(queue, max_messages=1, wait_s=0, lease_s=30)
        listener.body = b'{"Messages": [%s, %s]}' % (one % (1, b"{}"), one % (2, rb"\ud800"))
        got = await broker.receive(queue, max_messages=10, wait_s=0, lease_s=30)
    assert [(raw.broker_id, raw.body) for raw in got] == [("1", "{}"), ("2", "\ud800")]


def test_the_session_is_aiobotocore_s_own_with_one_look_at_each_request() -> None:
    path = FastPath(Keys("key", "secret").get_frozen_credentials, SystemClock())
    made = path.session_class()
    assert issubclass(made, Session)
    assert made.path is path

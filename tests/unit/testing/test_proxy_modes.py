"""Every mode of the fault proxy, on real sockets: what arrives, and what the client gets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, get_args

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError, ConnectionClosedError

from mqtransport.testing.proxy import MODES, FaultProxy, Met, Mode, ModeName
from mqtransport.testing.sqs_double import SQSDouble
from mqtransport.testing.sqs_double.framing import (
    canned_response,
    cut_body,
    cut_chunks,
    read_request,
    read_response,
    split,
)

REFUSALS = {
    "http_500": ("InternalFailure", 500),
    "http_503": ("503", 503),
    "request_throttled": ("RequestThrottled", 403),
    "throttling_exception": ("ThrottlingException", 400),
    "expired_token": ("ExpiredToken", 403),
    "invalid_client_token_id": ("InvalidClientTokenId", 403),
    "signature_does_not_match": ("SignatureDoesNotMatch", 403),
    "missing_authentication_token": ("MissingAuthenticationToken", 403),
    "access_denied": ("AccessDenied", 403),
    "access_denied_exception": ("AccessDeniedException", 403),
    "access_denied_xml": ("403", 403),
}
"""What botocore makes of each refusal: code and status."""


@pytest.fixture
async def double() -> AsyncIterator[SQSDouble]:
    async with SQSDouble() as running:
        running.create_queue("q")
        yield running


@pytest.fixture
async def proxy(double: SQSDouble) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(double.url) as running:
        yield running


@contextlib.asynccontextmanager
async def client_of(proxy: FaultProxy, **more: Any) -> AsyncIterator[Any]:
    config = AioConfig(retries={"total_max_attempts": 1}, **more)
    keys = {"aws_access_key_id": "AKIDTEST", "aws_secret_access_key": "secret"}
    async with get_session().create_client(
        "sqs", region_name="us-east-1", endpoint_url=proxy.url, config=config, **keys
    ) as client:
        yield client


async def send(sqs: Any) -> Any:
    return await sqs.send_message(QueueUrl="http://sqs/000000000000/q", MessageBody="x")


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    async with asyncio.timeout(20):
        yield reader, writer
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()


def sending(body: str = "x") -> bytes:
    document = json.dumps({"QueueUrl": "http://sqs/000000000000/q", "MessageBody": body}).encode()
    head = (
        "POST / HTTP/1.1\r\nHost: sqs\r\nX-Amz-Target: AmazonSQS.SendMessage\r\n"
        f"Content-Type: application/x-amz-json-1.0\r\nContent-Length: {len(document)}\r\n\r\n"
    )
    return head.encode() + document


async def answer_to(proxy: FaultProxy, request: bytes) -> str:
    """Send a request and name what came back in the words of the table."""
    async with connected(proxy.url) as (reader, writer):
        writer.write(request)
        try:
            head, body = split(await read_response(reader))
        except ConnectionResetError:
            return "none"
        except asyncio.IncompleteReadError:
            return "part"
        if int(head.split()[1]) >= 400:
            return "error"
        try:
            return "whole" if "MessageId" in json.loads(body) else "garbage"
        except ValueError:
            return "part" if body.startswith(b'{"') else "garbage"


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the proxy announces nothing to wait for
            await asyncio.sleep(0)


async def a_while(double: SQSDouble) -> None:
    """As long as requests of other clients take, through a proxy of their own."""
    async with FaultProxy(double.url) as other, client_of(other) as sqs:
        for _ in range(3):
            await sqs.list_queues()


def test_the_table_holds_every_mode_once():
    assert sorted(mode.name for mode in MODES) == sorted(get_args(ModeName))
    assert {mode.answer for mode in MODES} == {"none", "part", "garbage", "error", "whole"}


def test_a_mode_is_answered_when_the_client_gets_a_whole_answer():
    assert {mode.answer for mode in MODES if not mode.answered} == {"none", "part"}
    assert all(mode.answered for mode in MODES if mode.canned is not None)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_mode_does_what_the_table_says(double: SQSDouble, proxy: FaultProxy, mode: Mode):
    rule = proxy.add(mode=mode, count=1, seconds=0.05)
    answering = asyncio.create_task(answer_to(proxy, sending()))
    if mode.name in ("hang", "hang_after"):
        await until(lambda: rule.hits and double.requests.total() == mode.arrives)
        await a_while(double)
        assert not answering.done()
        proxy.clear()
    assert await answering == mode.answer
    assert sum(double.counts("q")) == mode.arrives
    assert [met[:2] for met in proxy.log] == [("SendMessage", mode.name)]
    # And the next request is served as if nothing had been.
    assert await answer_to(proxy, sending()) == "whole"
    assert sum(double.counts("q")) == mode.arrives + 1


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.answer == "error"], ids=str)
async def test_a_refusal_is_read_by_the_sdk_as_the_code_it_stands_for(
    proxy: FaultProxy, mode: Mode
):
    proxy.add(mode=mode, count=1)
    async with client_of(proxy, max_pool_connections=1) as sqs:
        with pytest.raises(ClientError) as caught:
            await send(sqs)
        response = caught.value.response
        found = response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]
        assert found == REFUSALS[mode.name]
        await send(sqs)
    # A refusal is an answer like another: the connection goes on.
    assert {met.connection for met in proxy.log} == {1}


async def test_the_refusal_in_xml_holds_its_code_in_the_text(proxy: FaultProxy):
    proxy.add(mode="access_denied_xml")
    async with client_of(proxy) as sqs:
        with pytest.raises(ClientError, match="<Code>AccessDenied</Code>"):
            await send(sqs)


async def test_a_reset_during_the_request_leaves_half_of_its_body_at_the_endpoint():
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        try:
            while part := await reader.read(65_536):
                data += part
        except ConnectionResetError:
            got.set_result(data)
        else:
            got.set_exception(AssertionError("the connection ended in good order"))
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    request = sending("x" * 1_000)
    async with (
        server,
        FaultProxy(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as proxy,
    ):
        proxy.add(mode="reset_during")
        assert await answer_to(proxy, request) == "none"
        received = await asyncio.wait_for(got, 10)
    head, body = split(request)
    assert received == head + b"\r\n\r\n" + body[: len(body) // 2]


async def test_a_slow_answer_comes_in_pieces_and_clear_lets_the_rest_through(
    double: SQSDouble, proxy: FaultProxy
):
    proxy.add(mode="slow", seconds=3_600)
    async with connected(proxy.url) as (reader, writer):
        writer.write(sending())
        first = await reader.read(65_536)
        assert first.startswith(b"HTTP")
        rest = asyncio.create_task(reader.readuntil(b"}"))
        await a_while(double)
        assert not rest.done()
        proxy.clear()
        response = await read_response(ended(first + await rest))
    assert "MessageId" in json.loads(split(response)[1])


async def test_no_read_timeout_notices_a_slow_answer(proxy: FaultProxy):
    rule = proxy.add(mode="slow", seconds=1.5)
    async with client_of(proxy, read_timeout=1.0) as sqs:
        assert "MessageId" in await send(sqs)
    assert rule.hits == 1


async def test_a_client_that_tires_of_a_slow_answer_ends_it(proxy: FaultProxy):
    proxy.add(mode="slow", seconds=3_600)
    async with client_of(proxy) as sqs:
        task = asyncio.create_task(send(sqs))
        await until(lambda: proxy.log)
        task.cancel()
        await asyncio.wait([task], timeout=10)
    await until(lambda: not proxy._links)


async def test_an_answer_cut_in_its_body_looks_whole_to_the_sdk(proxy: FaultProxy):
    proxy.add(mode="truncate_body", count=1)
    async with client_of(proxy) as sqs:
        assert "MessageId" not in await send(sqs)
        assert "MessageId" in await send(sqs)


async def test_an_answer_without_its_last_chunk_is_a_broken_connection(proxy: FaultProxy):
    proxy.add(mode="truncate_chunks", count=1)
    async with client_of(proxy) as sqs:
        with pytest.raises(ConnectionClosedError):
            await send(sqs)


async def test_an_answer_is_cut_alike_whether_it_came_with_a_length_or_in_chunks():
    with_length = canned_response("200 OK", "text/plain", b"0123456789", {"X-More": "1"})
    in_chunks = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n"
        b"X-More: 1\r\n\r\n4\r\n0123\r\n6;ext=1\r\n456789\r\n0\r\n\r\n"
    )
    kept = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-More: 1\r\n"
    for response in (with_length, in_chunks):
        assert cut_body(response) == kept + b"Content-Length: 5\r\n\r\n01234"
        assert cut_chunks(response) == kept + b"Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n"


async def test_a_mode_is_given_as_itself_or_by_its_name(proxy: FaultProxy):
    mode = next(mode for mode in MODES if mode.name == "garbage")
    assert proxy.add(mode=mode).mode is mode
    assert proxy.add(mode="garbage").mode is mode


async def test_the_log_tells_what_arrived_when_and_on_which_connection(proxy: FaultProxy):
    proxy.add("SendMessage", mode="http_503", count=1, after=1)
    for body in ("x", "x" * 100):
        async with connected(proxy.url) as (reader, writer):
            for _ in range(2):
                writer.write(sending(body))
                await read_response(reader)
    short, long = len(sending("x")), len(sending("x" * 100))
    assert [met._replace(at_s=0.0) for met in proxy.log] == [
        Met("SendMessage", "forward", 1, 0.0, short),
        Met("SendMessage", "http_503", 1, 0.0, short),
        Met("SendMessage", "forward", 2, 0.0, long),
        Met("SendMessage", "forward", 2, 0.0, long),
    ]
    times = [met.at_s for met in proxy.log]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1]
    assert proxy.calls == {"SendMessage": 4}


async def test_a_request_that_never_arrived_whole_is_not_logged(proxy: FaultProxy):
    async with connected(proxy.url) as (reader, writer):
        writer.write(sending()[:-1])
        writer.write_eof()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    assert proxy.log == []
    with pytest.raises(asyncio.IncompleteReadError):
        await read_request(ended(sending()[:-1]))


def ended(data: bytes) -> asyncio.StreamReader:
    """A reader with this data and no more."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader

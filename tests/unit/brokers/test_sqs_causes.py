"""What a traceback shows below an error of the SQS broker: no secret, and no message."""

import asyncio
import traceback

import aiohttp
import pytest
import yarl
from aiohttp.http import HttpProcessingError
from botocore.exceptions import ClientError, HTTPClientError, ProxyConnectionError
from botocore.parsers import ResponseParserError
from multidict import CIMultiDict, CIMultiDictProxy

from mqtransport.brokers.sqs import SQSBroker
from mqtransport.brokers.sqs.causes import shown_cause
from mqtransport.errors import BrokerError
from mqtransport.message import Outgoing
from tests.unit.brokers.listening import Listening, connected

URL = "http://user:CANARY@proxy:80"


def response_error() -> aiohttp.ClientResponseError:
    request = aiohttp.RequestInfo(yarl.URL(URL), "CONNECT", CIMultiDictProxy(CIMultiDict()))
    return aiohttp.ClientResponseError(request, (), message="no status line")


@pytest.mark.parametrize(
    "exc",
    [
        response_error(),
        aiohttp.InvalidURL(URL),
        ValueError(f"Failed to parse: {URL.removeprefix('http://')}"),
        HttpProcessingError(message="Bad status line b'CANARY'"),
        aiohttp.ClientPayloadError("Bad chunk size b'CANARY'"),
        ResponseParserError("Unable to parse response: b'CANARY'"),
        HTTPClientError(error=response_error()),
        HTTPClientError(error=aiohttp.ServerDisconnectedError("CANARY")),
        ProxyConnectionError(proxy_url="hidden", error=response_error()),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_what_quotes_a_secret_is_not_shown(exc: Exception) -> None:
    assert shown_cause(exc) is None


def test_what_quotes_a_secret_further_down_is_not_shown_either() -> None:
    outer, middle = OSError("outer"), KeyError("middle")
    outer.__cause__, middle.__context__ = middle, aiohttp.InvalidURL(URL)
    assert shown_cause(outer) is None
    middle.__context__ = outer  # a ring
    assert shown_cause(outer) is outer


@pytest.mark.parametrize(
    "exc",
    [
        TimeoutError(),
        OSError(111, "Connect call failed ('127.0.0.1', 80)"),
        ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "SendMessage"),
        HTTPClientError(error=OSError("reset")),
        AttributeError("'str' object has no attribute 'get'"),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_what_helps_to_find_the_fault_is_shown(exc: Exception) -> None:
    assert shown_cause(exc) is exc


class Mute(Listening):
    """Answers every request so."""

    def __init__(self, whole: bytes) -> None:
        super().__init__()
        self.whole = whole

    async def respond(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self.whole)


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


async def traced(broker: SQSBroker, url: str) -> str:
    with pytest.raises(BrokerError) as caught:
        await broker.receive(url, max_messages=1, wait_s=0, lease_s=30)
    return shown(caught.value)


@pytest.mark.parametrize("fast_path", [True, False])
async def test_an_answer_that_breaks_http_is_not_quoted_in_a_traceback(fast_path: bool) -> None:
    good = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    async with Mute(good).serving() as server:
        queue = f"http://127.0.0.1:{server.port}/000000000000/q"
        async with connected(f"http://127.0.0.1:{server.port}", fast_path=fast_path) as broker:
            for _ in range(3):
                await broker.receive(queue, max_messages=1, wait_s=0, lease_s=30)
            server.whole = good + b'{"Messages": [{"Body": "CANARY"}]}\r\n\r\n'
            text = await traced(broker, queue)
    assert "BrokerUnavailableError" in text
    assert "CANARY" not in text


@pytest.mark.parametrize("fast_path", [True, False])
async def test_a_proxy_that_speaks_no_http_has_no_password_in_a_traceback(
    fast_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x00\x01 garbage\r\n\r\n")
        await writer.drain()
        writer.close()

    monkeypatch.setenv("NO_PROXY", "")
    async with await asyncio.start_server(garbage, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:CANARY@127.0.0.1:{port}")
        async with connected("https://sqs.invalid", fast_path=fast_path) as broker:
            for _ in range(2):
                with pytest.raises(BrokerError) as caught:
                    await broker.send("https://sqs.invalid/0/q", [Outgoing("m", "{}", {})])
                assert "CANARY" not in shown(caught.value)

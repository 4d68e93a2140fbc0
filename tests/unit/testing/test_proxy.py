"""The fault proxy, between a real SDK client and the double."""

import asyncio
import contextlib
import threading

import aiohttp
import boto3
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from mqtransport.testing.proxy import FaultProxy
from mqtransport.testing.sqs_double import SQSDouble

OPTIONS = {
    "region_name": "us-east-1",
    "aws_access_key_id": "AKIDTEST",
    "aws_secret_access_key": "secret",
}


@pytest.fixture
async def double():
    async with SQSDouble() as running:
        running.create_queue("q")
        yield running


@pytest.fixture
async def proxy(double):
    async with FaultProxy(double.url) as running:
        yield running


@contextlib.asynccontextmanager
async def client_of(url, **more):
    config = AioConfig(retries={"total_max_attempts": 1}, **more)
    session = get_session()
    async with session.create_client("sqs", endpoint_url=url, config=config, **OPTIONS) as client:
        yield client


@pytest.fixture
async def sqs(proxy):
    async with client_of(proxy.url) as client:
        yield client


async def send(sqs, body="x"):
    return await sqs.send_message(QueueUrl="http://sqs/000000000000/q", MessageBody=body)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the proxy announces nothing to wait for
            await asyncio.sleep(0)


async def test_without_rules_requests_and_answers_pass_unchanged(double, proxy, sqs):
    sent = await send(sqs, "é" * 10_000)
    assert double.messages("q")[0].message_id == sent["MessageId"]
    got = await sqs.receive_message(QueueUrl=double.queue_url("q"))
    assert got["Messages"][0]["Body"] == "é" * 10_000
    assert proxy.calls == {"SendMessage": 1, "ReceiveMessage": 1}
    assert [met[:2] for met in proxy.log] == [
        ("SendMessage", "forward"),
        ("ReceiveMessage", "forward"),
    ]


async def test_an_error_of_the_endpoint_passes_unchanged(proxy, sqs):
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        await sqs.get_queue_url(QueueName="missing")


async def test_one_connection_carries_many_requests(double, proxy):
    accepted = set()
    async with client_of(proxy.url, max_pool_connections=1) as sqs:
        for _ in range(20):
            await send(sqs)
            accepted.update(proxy._links)
    assert len(accepted) == 1
    assert proxy.calls["SendMessage"] == 20


@pytest.mark.parametrize(
    ("mode", "stored"),
    [("reset_before", 0), ("reset_after", 1)],
)
async def test_a_reset_breaks_the_connection_before_or_after_the_endpoint_got_it(
    double, proxy, sqs, mode, stored
):
    proxy.add("SendMessage", mode=mode, count=1)
    with pytest.raises(EndpointConnectionError):
        await send(sqs)
    assert double.counts("q") == (stored, 0, 0)
    await send(sqs)
    assert double.counts("q") == (stored + 1, 0, 0)


async def test_a_reset_is_a_real_reset(double, proxy):
    proxy.add(mode="reset_before")
    address = proxy.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()


@pytest.mark.parametrize(("mode", "stored"), [("hang", 0), ("hang_after", 1)])
async def test_a_hang_never_answers(double, proxy, mode, stored):
    proxy.add("SendMessage", mode=mode)
    async with client_of(proxy.url, read_timeout=0.3) as sqs:
        with pytest.raises(ReadTimeoutError):
            await send(sqs)
    assert double.counts("q") == (stored, 0, 0)
    assert [met[:2] for met in proxy.log] == [("SendMessage", mode)]


@pytest.mark.parametrize("mode", ["hang", "hang_after"])
async def test_clear_releases_what_hangs_and_later_requests_pass(double, proxy, sqs, mode):
    rule = proxy.add(mode=mode)
    hanging = [asyncio.create_task(send(sqs)) for _ in range(3)]
    await until(lambda: rule.hits == 3 and (mode == "hang" or double.requests.total() == 3))
    assert not any(task.done() for task in hanging)
    proxy.clear()
    for result in await asyncio.wait_for(asyncio.gather(*hanging, return_exceptions=True), 10):
        assert isinstance(result, EndpointConnectionError)
    await send(sqs)


async def test_a_hang_ends_when_its_client_goes_away(proxy):
    proxy.add(mode="hang")
    async with client_of(proxy.url, read_timeout=0.1) as sqs:
        with pytest.raises(ReadTimeoutError):
            await send(sqs)
    await until(lambda: not proxy._links)


async def test_closing_releases_what_hangs_and_leaves_no_task_behind(double):
    async with FaultProxy(double.url) as proxy, client_of(proxy.url) as sqs:
        rule = proxy.add(mode="hang")
        hanging = asyncio.create_task(send(sqs))
        await until(lambda: rule.hits)
        serving = set(proxy._links.values())
        await proxy.__aexit__(None, None, None)
        assert serving
        assert all(task.done() and not task.cancelled() for task in serving)
        with pytest.raises(EndpointConnectionError):
            await asyncio.wait_for(hanging, 10)


@pytest.mark.parametrize("mode", ["garbage", "garbage_empty"])
async def test_garbage_is_status_200_which_the_sdk_takes_for_success(double, proxy, sqs, mode):
    proxy.add("SendMessage", mode=mode, count=1)
    got = await send(sqs)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert "MessageId" not in got
    assert double.counts("q") == (0, 0, 0)
    assert "MessageId" in await send(sqs)


async def test_garbage_is_no_json_and_the_empty_kind_is(proxy):
    async with aiohttp.ClientSession() as session:
        for mode, body in (("garbage", b"<html>It works!</html>"), ("garbage_empty", b"{}")):
            proxy.add(mode=mode, count=1)
            async with session.post(proxy.url) as response:
                assert await response.read() == body


async def test_http_503_is_an_error_of_the_server(double, proxy, sqs):
    proxy.add(mode="http_503", count=1)
    with pytest.raises(ClientError) as caught:
        await send(sqs)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert double.counts("q") == (0, 0, 0)


async def test_a_delayed_request_is_forwarded_later(double, proxy, sqs):
    proxy.add("SendMessage", mode="delay", seconds=3_600)
    sending = asyncio.create_task(send(sqs))
    await until(lambda: proxy.calls["SendMessage"])
    assert double.counts("q") == (0, 0, 0)
    proxy.clear()
    assert "MessageId" in await asyncio.wait_for(sending, 10)
    proxy.add("SendMessage", mode="delay", seconds=0.05)
    await send(sqs)
    assert double.counts("q") == (2, 0, 0)


async def test_a_hang_after_a_delay_that_was_cleared_hangs_all_the_same(double, proxy):
    async with client_of(proxy.url, max_pool_connections=1, read_timeout=0.3) as sqs:
        rule = proxy.add(mode="delay", seconds=3_600)
        sending = asyncio.create_task(send(sqs))
        await until(lambda: rule.hits)
        proxy.clear()
        await sending
        proxy.add(mode="hang")
        with pytest.raises(ReadTimeoutError):
            await send(sqs)


async def test_an_endpoint_that_restarted_is_reached_on_the_same_client_connection():
    async with contextlib.AsyncExitStack() as stack:
        async with SQSDouble() as first:
            proxy = await stack.enter_async_context(FaultProxy(first.url))
            sqs = await stack.enter_async_context(client_of(proxy.url, max_pool_connections=1))
            await sqs.list_queues()
        (link,) = proxy._links
        async with SQSDouble(port=int(first.url.rpartition(":")[2])):
            await sqs.list_queues()
            assert list(proxy._links) == [link]


async def test_a_truncated_answer_breaks_off_in_the_middle(double, proxy, sqs):
    proxy.add("GetQueueAttributes", mode="truncate", count=1)
    params = {"QueueUrl": double.queue_url("q"), "AttributeNames": ["All"]}
    with pytest.raises(ConnectionClosedError):
        await sqs.get_queue_attributes(**params)
    assert await sqs.get_queue_attributes(**params)


async def test_a_rule_hits_its_action_only_so_often_and_not_before(proxy, sqs):
    rule = proxy.add("SendMessage", mode="http_503", count=2, after=1)
    await sqs.list_queues()
    outcomes = []
    for _ in range(5):
        try:
            await send(sqs)
            outcomes.append("ok")
        except ClientError:
            outcomes.append("503")
    assert outcomes == ["ok", "503", "503", "ok", "ok"]
    assert rule.hits == 2
    assert proxy.calls == {"ListQueues": 1, "SendMessage": 5}


async def test_the_first_rule_that_takes_a_request_decides(proxy, sqs):
    proxy.add("SendMessage", mode="garbage_empty", count=1)
    proxy.add(mode="http_503")
    assert "MessageId" not in await send(sqs)
    with pytest.raises(ClientError):
        await send(sqs)


async def test_an_unknown_mode_or_url_is_refused(proxy):
    with pytest.raises(ValueError, match="unknown mode"):
        proxy.add(mode="explode")
    with pytest.raises(ValueError, match="http://"):
        FaultProxy("https://sqs.us-east-1.amazonaws.com")


async def test_refuse_drops_open_connections_and_refuses_new_ones_until_accept(double, proxy, sqs):
    url = proxy.url
    poll = asyncio.create_task(
        sqs.receive_message(QueueUrl=double.queue_url("q"), WaitTimeSeconds=20)
    )
    await until(lambda: double.requests["ReceiveMessage"])
    proxy.refuse()
    with pytest.raises(EndpointConnectionError):
        await asyncio.wait_for(poll, 10)
    with pytest.raises(EndpointConnectionError):
        await send(sqs)
    proxy.accept()
    assert proxy.url == url
    await send(sqs)
    assert proxy.calls["SendMessage"] == 1


async def test_while_it_refuses_nobody_else_gets_its_port(proxy, sqs):
    host, port = proxy.url.removeprefix("http://").split(":")
    proxy.refuse()
    with pytest.raises(OSError, match="in use"):
        await asyncio.start_server(lambda *_: None, host, int(port), reuse_address=False)
    proxy.accept()
    await sqs.list_queues()


async def test_a_proxy_may_end_while_it_refuses(double):
    async with FaultProxy(double.url) as proxy:
        port = int(proxy.url.rsplit(":", 1)[1])
        proxy.refuse()
    async with FaultProxy(double.url, port=port) as proxy, client_of(proxy.url) as sqs:
        await sqs.list_queues()


async def test_refuse_and_accept_twice_do_no_harm(proxy, sqs):
    proxy.refuse()
    proxy.refuse()
    proxy.accept()
    proxy.accept()
    await sqs.list_queues()


async def test_an_endpoint_that_is_down_is_a_reset_and_its_return_is_noticed(double):
    async with FaultProxy(double.url) as proxy:
        upstream = proxy.upstream
        proxy.upstream = ("127.0.0.1", 1)
        async with client_of(proxy.url) as sqs:
            with pytest.raises(EndpointConnectionError):
                await send(sqs)
            proxy.upstream = upstream
            await send(sqs)


async def test_a_client_that_goes_away_is_gone_for_the_endpoint_too():
    async with SQSDouble(zombie_polls=False) as double, FaultProxy(double.url) as proxy:
        double.create_queue("q")
        async with client_of(proxy.url, read_timeout=0.2) as sqs:
            with pytest.raises(ReadTimeoutError):
                await sqs.receive_message(QueueUrl=double.queue_url("q"), WaitTimeSeconds=20)
        await until(lambda: not proxy._links)
        async with client_of(double.url) as direct:
            await direct.list_queues()
            await send(direct)
        assert double.counts("q") == (1, 0, 0)


async def test_answers_in_chunks_and_answers_that_close_pass():
    async def handle(request):
        await request.read()
        response = web.StreamResponse()
        if request.path == "/chunked":
            response.enable_chunked_encoding()
        else:
            response.content_length = 300_000
            response.force_close()
        await response.prepare(request)
        for _ in range(3):
            await response.write(b"x" * 100_000)
        return response

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with FaultProxy(f"http://127.0.0.1:{port}") as proxy, aiohttp.ClientSession() as session:
        for path in ("chunked", "closing", "chunked", "chunked"):
            async with session.post(f"{proxy.url}/{path}", data=b"body") as response:
                assert await response.read() == b"x" * 300_000
    await runner.cleanup()


async def test_many_requests_at_once_are_all_served(double, proxy, sqs):
    await asyncio.wait_for(asyncio.gather(*(send(sqs, str(n)) for n in range(200))), 60)
    assert double.counts("q") == (200, 0, 0)


def test_a_proxy_in_a_thread_serves_a_synchronous_client():
    before = threading.active_count()
    with SQSDouble.in_thread() as double, FaultProxy.in_thread(double.url) as proxy:
        url = double.create_queue("q")
        config = Config(retries={"total_max_attempts": 1})
        client = boto3.client("sqs", endpoint_url=proxy.url, config=config, **OPTIONS)
        client.send_message(QueueUrl=url, MessageBody="x")
        rule = proxy.add("SendMessage", mode="http_503", count=1)
        with pytest.raises(ClientError):
            client.send_message(QueueUrl=url, MessageBody="x")
        assert rule.hits == 1
        proxy.refuse()
        # The first call may still find its pooled connection, which is broken by now.
        with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
            client.send_message(QueueUrl=url, MessageBody="x")
        with pytest.raises(EndpointConnectionError):
            client.send_message(QueueUrl=url, MessageBody="x")
        proxy.accept()
        client.send_message(QueueUrl=url, MessageBody="x")
        assert double.counts("q") == (2, 0, 0)
        client.close()
    assert threading.active_count() == before

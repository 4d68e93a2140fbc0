"""A double that goes away and comes back with its messages."""

import asyncio
from urllib.parse import urlsplit

import boto3
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from mqtransport.testing.sqs_double import SQSDouble

OPTIONS = {
    "region_name": "us-east-1",
    "aws_access_key_id": "AKIDTEST",
    "aws_secret_access_key": "secret",
}
ONCE = {"retries": {"total_max_attempts": 1}}


def client_of(url):
    return get_session().create_client("sqs", endpoint_url=url, config=AioConfig(**ONCE), **OPTIONS)


def address(double):
    parts = urlsplit(double.url)
    return parts.hostname, parts.port


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the double announces nothing to wait for
            await asyncio.sleep(0)


async def test_a_double_that_is_down_refuses_and_comes_back_with_its_messages():
    async with SQSDouble() as double, client_of(double.url) as sqs:
        url = double.create_queue("q")
        await sqs.send_message(QueueUrl=url, MessageBody="kept")
        await double.down()
        with pytest.raises(EndpointConnectionError):
            await sqs.receive_message(QueueUrl=url)
        assert double.counts("q") == (1, 0, 0)
        await double.up()
        assert (await sqs.receive_message(QueueUrl=url))["Messages"][0]["Body"] == "kept"
        assert double.queue_url("q") == url


async def test_connections_are_reset_when_it_goes_down():
    async with SQSDouble() as double:
        reader, writer = await asyncio.open_connection(*address(double))
        await until(lambda: double._endpoint._runner.server.connections)
        await double.down()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def test_a_poll_that_waits_is_cut_off_and_takes_nothing_afterwards():
    async with SQSDouble() as double, client_of(double.url) as sqs:
        url = double.create_queue("q")
        poll = asyncio.create_task(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))
        await until(lambda: double.requests["ReceiveMessage"])
        await double.down()
        with pytest.raises(EndpointConnectionError):
            await asyncio.wait_for(poll, 10)
        await double.up()
        await sqs.send_message(QueueUrl=url, MessageBody="x")
        assert double.counts("q") == (1, 0, 0)


async def test_while_it_is_down_nobody_else_gets_its_port():
    async with SQSDouble() as double:
        await double.down()
        with pytest.raises(OSError, match="in use"):
            await asyncio.start_server(lambda *_: None, *address(double), reuse_address=False)
        await double.up()


async def test_going_down_or_up_twice_does_nothing():
    async with SQSDouble() as double:
        url = double.url
        await double.up()
        await double.down()
        await double.down()
        await double.up()
        await double.up()
        assert double.url == url
        _, writer = await asyncio.open_connection(*address(double))
        writer.close()


async def test_a_double_may_end_while_it_is_down():
    async with SQSDouble() as double:
        host, port = address(double)
        await double.down()
    async with SQSDouble(host=host, port=port):
        pass


async def test_a_double_that_does_not_run_cannot_come_up():
    double = SQSDouble()
    with pytest.raises(RuntimeError, match="not running"):
        await double.up()


def test_a_synchronous_test_takes_it_down_and_up_from_its_own_thread():
    with SQSDouble.in_thread() as double:
        url = double.create_queue("q")
        sqs = boto3.client("sqs", endpoint_url=double.url, config=Config(**ONCE), **OPTIONS)
        sqs.send_message(QueueUrl=url, MessageBody="kept")
        asyncio.run(double.down())
        with pytest.raises(EndpointConnectionError):
            sqs.receive_message(QueueUrl=url)
        asyncio.run(double.up())
        assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "kept"
        sqs.close()

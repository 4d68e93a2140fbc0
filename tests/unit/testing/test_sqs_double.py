"""The double as SDKs see it: errors, long polls, faults, threads and processes."""

import asyncio
import contextlib
import hashlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import aiohttp
import boto3
import botocore.session
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import ClientError

import mqtransport.testing.sqs_double as package
from mqtransport.testing.sqs_double import SQSDouble, SQSError
from mqtransport.testing.sqs_double.errors import KEY_ERRORS, KINDS

# aiohttp warns about bodies of more than 1 MiB in memory; SQS allows them, and aiobotocore does it.
LARGE_BODY = "ignore:Sending a large body directly:ResourceWarning"

OPTIONS = {
    "region_name": "us-east-1",
    "aws_access_key_id": "AKIDTEST",
    "aws_secret_access_key": "secret",
}
CONFIG = {"retries": {"total_max_attempts": 1}, "parameter_validation": False}


@pytest.fixture
async def double():
    async with SQSDouble() as running:
        running.create_queue("q")
        yield running


@pytest.fixture
async def sqs(double):
    async with client_of(double.url) as client:
        yield client


@contextlib.asynccontextmanager
async def client_of(url, **more):
    config = AioConfig(**CONFIG)
    session = get_session()
    async with session.create_client("sqs", endpoint_url=url, config=config, **OPTIONS | more) as c:
        yield c


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the double announces nothing to wait for
            await asyncio.sleep(0)


# Errors, against AWS's own model of the service


async def in_flight_again(double, sqs, url):
    await sqs.send_message(QueueUrl=url, MessageBody="x")
    got = await sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)
    handle = got["Messages"][0]["ReceiptHandle"]
    return {"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": 5}


async def full(double, sqs, url):
    double.limit_in_flight("q", 0)
    return {"QueueUrl": url}


async def existing(double, sqs, url):
    return {"QueueName": "q", "Attributes": {"VisibilityTimeout": "9"}}


async def purged(double, sqs, url):
    await sqs.purge_queue(QueueUrl=url)
    return {"QueueUrl": url}


async def deleted(double, sqs, url):
    await sqs.delete_queue(QueueUrl=url)
    return {"QueueName": "q"}


async def throttled(double, sqs, url):
    double.throttle("SendMessage")
    return {"QueueUrl": url, "MessageBody": "x"}


def given(**params):
    async def prepare(double, sqs, url):
        return {"QueueUrl": url, **params}

    return prepare


def spoilt(error):
    async def prepare(double, sqs, url):
        double.create_queue("secret", KmsMasterKeyId="alias/mine")
        double.spoil_key("secret", error)
        return {"QueueUrl": double.queue_url("secret"), "MessageBody": "x"}

    return prepare


def asked_for(error):
    async def prepare(double, sqs, url):
        double.throttle("*", code=error)
        return {}

    return prepare


ENTRY = {"Id": "a", "MessageBody": "x"}

MODELLED = {
    "BatchEntryIdsNotDistinct": ("SendMessageBatch", given(Entries=[ENTRY, ENTRY])),
    "BatchRequestTooLong": (
        "SendMessageBatch",
        given(Entries=[{"Id": str(n), "MessageBody": "x" * 600_000} for n in range(2)]),
    ),
    "EmptyBatchRequest": ("DeleteMessageBatch", given(Entries=[])),
    "InvalidAddress": ("DeleteQueue", given(QueueUrl="nonsense")),
    "InvalidAttributeName": ("GetQueueAttributes", given(AttributeNames=["Nonsense"])),
    "InvalidAttributeValue": (
        "SetQueueAttributes",
        given(Attributes={"VisibilityTimeout": "43201"}),
    ),
    "InvalidBatchEntryId": ("DeleteMessageBatch", given(Entries=[{"Id": "a b"}])),
    "InvalidMessageContents": ("SendMessage", given(MessageBody="\x00")),
    "MessageNotInflight": ("ChangeMessageVisibility", in_flight_again),
    "OverLimit": ("ReceiveMessage", full),
    "PurgeQueueInProgress": ("PurgeQueue", purged),
    "QueueDeletedRecently": ("CreateQueue", deleted),
    "QueueDoesNotExist": (
        "SendMessage",
        given(QueueUrl="http://x/000000000000/missing", MessageBody="x"),
    ),
    "QueueNameExists": ("CreateQueue", existing),
    "ReceiptHandleIsInvalid": ("DeleteMessage", given(ReceiptHandle="garbage")),
    "RequestThrottled": ("SendMessage", throttled),
    "TooManyEntriesInBatchRequest": (
        "ChangeMessageVisibilityBatch",
        given(Entries=[{"Id": str(n)} for n in range(11)]),
    ),
    "UnsupportedOperation": (
        "SendMessage",
        given(
            MessageBody="x",
            MessageAttributes={"a": {"DataType": "String", "StringListValues": ["x"]}},
        ),
    ),
    **{name: ("SendMessage", spoilt(name)) for name in KEY_ERRORS},
    # No rule of the double ends in these; a test has to ask for them.
    "InvalidIdFormat": ("DeleteMessage", asked_for("InvalidIdFormat")),
    "InvalidSecurity": ("DeleteMessage", asked_for("InvalidSecurity")),
    "ResourceNotFoundException": (
        "StartMessageMoveTask",
        asked_for("ResourceNotFoundException"),
    ),
}


def method_of(client, action):
    names = client.meta.method_to_api_mapping.items()
    return getattr(client, next(method for method, api in names if api == action))


def model():
    session = botocore.session.get_session()
    return session.get_service_model("sqs")


def test_the_double_knows_every_error_of_the_model_and_each_is_tried():
    errors = {shape.name for shape in model().error_shapes}
    assert len(errors) == 28
    assert errors == {name for name, kind in KINDS.items() if kind.namespace == "com.amazonaws.sqs"}
    assert errors == set(MODELLED)
    assert len({kind.code for kind in KINDS.values()}) == len(KINDS)


@pytest.mark.filterwarnings(LARGE_BODY)
@pytest.mark.parametrize("shape", MODELLED)
async def test_an_error_reaches_the_sdk_as_the_model_has_it(double, sqs, shape):
    action, prepare = MODELLED[shape]
    params = await prepare(double, sqs, double.queue_url("q"))
    with pytest.raises(ClientError) as caught:
        await method_of(sqs, action)(**params)
    error, kind = caught.value, KINDS[shape]
    assert type(error) is getattr(sqs.exceptions, shape)
    assert error.response["Error"]["Code"] == kind.code
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == kind.status
    assert error.response["ResponseMetadata"]["RequestId"]
    operation = sqs.meta.service_model.operation_model(action)
    assert shape in {error_shape.name for error_shape in operation.error_shapes}
    has_message = "message" in sqs.meta.service_model.shape_for(shape).members
    assert kind.has_message == has_message == bool(error.response["Error"]["Message"])


@pytest.mark.parametrize(
    ("action", "params", "code", "status"),
    [
        ("SendMessage", {}, "MissingParameter", 400),
        ("ReceiveMessage", {"WaitTimeSeconds": 21}, "InvalidParameterValue", 400),
        ("ListQueueTags", {}, "InvalidAction", 400),
    ],
)
async def test_an_error_common_to_all_services_reaches_the_sdk(
    double, sqs, action, params, code, status
):
    with pytest.raises(ClientError) as caught:
        await method_of(sqs, action)(QueueUrl=double.queue_url("q"), **params)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize("action", sorted(
    {"SendMessage", "SendMessageBatch", "ReceiveMessage", "DeleteMessage", "DeleteMessageBatch",
     "ChangeMessageVisibility", "ChangeMessageVisibilityBatch", "PurgeQueue", "DeleteQueue",
     "GetQueueAttributes", "SetQueueAttributes", "GetQueueUrl"}
))  # fmt: skip
async def test_every_action_on_a_missing_queue_raises_the_sdk_s_exception(double, sqs, action):
    params = {"QueueUrl": double.queue_url("missing")}
    if action == "GetQueueUrl":
        params = {"QueueName": "missing"}
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as caught:
        await method_of(sqs, action)(**params)
    assert caught.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"


COMMON = {
    "AccessDenied": 403,
    "ExpiredToken": 403,
    "IncompleteSignature": 403,
    "InternalFailure": 500,
    "InvalidClientTokenId": 403,
    "MissingAuthenticationToken": 403,
    "NotAuthorized": 401,
    "OptInRequired": 403,
    "RequestExpired": 400,
    "RequestTimeout": 408,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "ThrottlingException": 400,
    "ValidationError": 400,
}


@pytest.mark.parametrize("code", COMMON)
async def test_a_common_error_that_a_test_asks_for_reaches_the_sdk(double, sqs, code):
    double.throttle("SendMessage", code=code)
    with pytest.raises(ClientError) as caught:
        await sqs.send_message(QueueUrl=double.queue_url("q"), MessageBody="x")
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == COMMON[code]
    await sqs.send_message(QueueUrl=double.queue_url("q"), MessageBody="x")


async def test_an_unusable_key_fails_sends_batches_and_receives_until_it_is_mended(double, sqs):
    url = double.create_queue("secret", KmsMasterKeyId="alias/mine")
    batch = {"QueueUrl": url, "Entries": [ENTRY]}
    await sqs.send_message(QueueUrl=url, MessageBody="before")
    double.spoil_key("secret", "KmsDisabled")
    with pytest.raises(sqs.exceptions.KmsDisabled):
        await sqs.send_message(QueueUrl=url, MessageBody="x")
    with pytest.raises(sqs.exceptions.KmsDisabled):
        await sqs.send_message_batch(**batch)
    with pytest.raises(sqs.exceptions.KmsDisabled):
        await sqs.receive_message(QueueUrl=url)
    double.spoil_key("secret", None)
    assert (await sqs.receive_message(QueueUrl=url))["Messages"][0]["Body"] == "before"
    assert double.counts("secret") == (0, 1, 0)


async def test_a_key_that_becomes_unusable_fails_the_poll_that_waits(double, sqs):
    url = double.create_queue("secret", KmsMasterKeyId="alias/mine")
    poll = asyncio.create_task(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))
    await until(lambda: double.requests["ReceiveMessage"])
    double.spoil_key("secret", "KmsAccessDenied")
    with pytest.raises(sqs.exceptions.KmsAccessDenied):
        await asyncio.wait_for(poll, 10)


async def test_only_a_key_that_exists_can_be_spoilt_and_only_by_an_error_of_kms(double):
    with pytest.raises(ValueError, match="no KmsMasterKeyId"):
        double.spoil_key("q", "KmsDisabled")
    double.create_queue("secret", KmsMasterKeyId="alias/mine")
    with pytest.raises(ValueError, match="none of KmsAccessDenied"):
        double.spoil_key("secret", "OverLimit")


async def test_a_queue_that_gives_up_its_key_is_usable(double, sqs):
    url = double.create_queue("secret", KmsMasterKeyId="alias/mine")
    double.spoil_key("secret", "KmsNotFound")
    await sqs.set_queue_attributes(QueueUrl=url, Attributes={"KmsMasterKeyId": ""})
    await sqs.send_message(QueueUrl=url, MessageBody="x")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"X-Amz-Target": "AmazonSQS.SendMessage"}, b"not json"),
        ({"X-Amz-Target": "AmazonSQS.SendMessage"}, b"[]"),
        ({"X-Amz-Target": "AmazonSQS.SendMessage"}, b"[" * 100_000),
        ({"X-Amz-Target": "AmazonSQS.SendMessage", "Content-Type": "text/plain"}, b"{}"),
        ({"X-Amz-Target": "AmazonSQS.SendMessage"}, b'{"QueueUrl": 1}'),
        ({"X-Amz-Target": "DynamoDB.GetItem"}, b"{}"),
        ({}, b"{}"),
    ],
)
async def test_what_is_not_the_protocol_is_refused_politely(double, headers, body):
    headers = {"Content-Type": "application/x-amz-json-1.0", **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.post(double.url, data=body, headers=headers) as response,
    ):
        assert response.status == 400
        assert "x-amzn-query-error" in response.headers
        assert "__type" in await response.json(content_type=None)


# The whole way of a message


async def test_a_message_survives_the_way_through_the_sdk_byte_for_byte(double, sqs):
    url = double.queue_url("q")
    body = '\t\n\r <&>" \\ é \U0001f600 \ufffd'
    attributes = {
        "Name": {"DataType": "String", "StringValue": "messages.rand"},
        "Blob": {"DataType": "Binary", "BinaryValue": bytes(range(256))},
        "Count": {"DataType": "Number.int", "StringValue": "12"},
    }
    sent = await sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)
    got = await sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])
    (message,) = got["Messages"]
    assert message["Body"] == body
    assert message["MessageAttributes"] == attributes
    assert message["MessageId"] == sent["MessageId"]
    assert (
        message["MD5OfBody"] == sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    )
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]


@pytest.mark.filterwarnings(LARGE_BODY)
async def test_a_body_of_one_mebibyte_of_escapes_goes_through(double, sqs):
    body = "\n" * 1_048_576
    await sqs.send_message(QueueUrl=double.queue_url("q"), MessageBody=body)
    got = await sqs.receive_message(QueueUrl=double.queue_url("q"))
    assert got["Messages"][0]["Body"] == body


async def test_requests_are_counted_and_logged_by_action(double, sqs):
    url = double.queue_url("q")
    await sqs.get_queue_url(QueueName="q")
    entries = [{"Id": str(n), "MessageBody": "x"} for n in range(3)]
    await sqs.send_message_batch(QueueUrl=url, Entries=entries)
    await sqs.list_queues()
    assert double.requests == {"GetQueueUrl": 1, "SendMessageBatch": 1, "ListQueues": 1}
    assert double.log == [
        ("GetQueueUrl", "q", 1),
        ("SendMessageBatch", "q", 3),
        ("ListQueues", "", 1),
    ]
    double.reset_counts()
    assert not double.requests
    assert not double.log


async def test_a_test_can_look_into_a_queue_without_receiving(double, sqs):
    url = double.queue_url("q")
    attributes = {"a": {"DataType": "Number", "StringValue": "1"}}
    await sqs.send_message(
        QueueUrl=url, MessageBody="x", MessageAttributes=attributes, MessageGroupId="g"
    )
    await sqs.receive_message(QueueUrl=url)
    await sqs.send_message(QueueUrl=url, MessageBody="y", DelaySeconds=900)
    one, two = double.messages("q")
    assert (one.body, one.state, one.receive_count, one.group) == ("x", "in_flight", 1, "g")
    assert (one.attributes, one.data_types) == ({"a": "1"}, {"a": "Number"})
    assert (two.body, two.state, two.receive_count) == ("y", "delayed", 0)
    assert double.counts("q") == (0, 1, 1)


async def test_the_url_of_a_queue_is_the_one_that_requests_return(double, sqs):
    created = await sqs.create_queue(QueueName="new")
    found = await sqs.get_queue_url(QueueName="new")
    assert created["QueueUrl"] == found["QueueUrl"] == double.queue_url("new")
    assert double.create_queue("new") == created["QueueUrl"]


async def test_a_queue_created_in_process_obeys_the_same_rules(double):
    with pytest.raises(SQSError):
        double.create_queue("bad name")
    double.create_queue("dead")
    policy = {"deadLetterTargetArn": double.store.arn("dead"), "maxReceiveCount": 3}
    double.create_queue("source", RedrivePolicy=policy, VisibilityTimeout=5)
    assert double.store.get("source").settings.max_receive_count == 3


# Long polls


async def test_a_long_poll_on_an_empty_queue_waits_and_returns_no_list(double, sqs):
    got = await sqs.receive_message(QueueUrl=double.queue_url("q"), WaitTimeSeconds=1)
    assert "Messages" not in got


async def test_the_queue_s_own_wait_makes_receives_long_polls(double, sqs):
    url = double.create_queue("patient", ReceiveMessageWaitTimeSeconds=20)
    poll = asyncio.create_task(sqs.receive_message(QueueUrl=url))
    await until(lambda: double.requests["ReceiveMessage"])
    await sqs.send_message(QueueUrl=url, MessageBody="x")
    assert (await asyncio.wait_for(poll, 10))["Messages"]


async def poll_while(double, sqs, change, **params):
    """Return what a poll of 20 s gets when something changes meanwhile."""
    url = double.queue_url("q")
    seen = double.requests["ReceiveMessage"]
    poll = asyncio.create_task(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20, **params))
    await until(lambda: double.requests["ReceiveMessage"] > seen)
    await change(url)
    return (await asyncio.wait_for(poll, 15)).get("Messages", [])


async def test_a_send_wakes_a_poll(double, sqs):
    async def send(url):
        await sqs.send_message(QueueUrl=url, MessageBody="x")

    assert len(await poll_while(double, sqs, send)) == 1


async def test_the_end_of_a_delay_wakes_a_poll(double, sqs):
    async def send(url):
        await sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=1)

    assert len(await poll_while(double, sqs, send)) == 1


async def test_the_end_of_a_lease_wakes_a_poll(double, sqs):
    url = double.queue_url("q")
    await sqs.send_message(QueueUrl=url, MessageBody="x")
    await sqs.receive_message(QueueUrl=url, VisibilityTimeout=1)

    async def nothing(_):
        return None

    assert len(await poll_while(double, sqs, nothing)) == 1


async def test_giving_a_message_back_wakes_a_poll(double, sqs):
    url = double.queue_url("q")
    await sqs.send_message(QueueUrl=url, MessageBody="x")
    got = await sqs.receive_message(QueueUrl=url)
    handle = got["Messages"][0]["ReceiptHandle"]

    async def give_back(url):
        await sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)

    assert len(await poll_while(double, sqs, give_back)) == 1


async def test_a_dead_letter_wakes_a_poll_on_its_new_queue(double, sqs):
    policy = {"deadLetterTargetArn": double.store.arn("q"), "maxReceiveCount": 1}
    source = double.create_queue("source", RedrivePolicy=policy, VisibilityTimeout=0)
    await sqs.send_message(QueueUrl=source, MessageBody="x")

    async def exhaust(_):
        await sqs.receive_message(QueueUrl=source)
        await sqs.receive_message(QueueUrl=source)

    assert len(await poll_while(double, sqs, exhaust)) == 1


async def test_a_lowered_lease_wakes_a_poll_on_a_manual_clock_that_was_moved(sqs):
    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

        def time(self):
            return self.now

    clock = Clock()
    async with SQSDouble(clock=clock) as double, client_of(double.url) as sqs:
        double.create_queue("q")
        await sqs.send_message(QueueUrl=double.queue_url("q"), MessageBody="x", DelaySeconds=900)

        async def hours(_):
            clock.now += 900
            double.wake()

        assert len(await poll_while(double, sqs, hours)) == 1


async def test_polls_are_served_in_the_order_in_which_they_came(double, sqs):
    url = double.queue_url("q")
    polls = []
    for number in range(3):
        polls.append(asyncio.create_task(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)))
        await until(lambda wanted=number: double.requests["ReceiveMessage"] > wanted)
    for number, poll in enumerate(polls):
        await sqs.send_message(QueueUrl=url, MessageBody=str(number))
        got = await asyncio.wait_for(poll, 10)
        assert got["Messages"][0]["Body"] == str(number)


async def test_a_poll_on_a_queue_that_is_deleted_fails(double, sqs):
    async def delete(url):
        await sqs.delete_queue(QueueUrl=url)

    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        await poll_while(double, sqs, delete)


async def abandoned_poll(double):
    """Start a poll, and go away without waiting for its answer."""
    async with client_of(double.url) as sqs:
        url = double.queue_url("q")
        poll = asyncio.create_task(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))
        await until(lambda: double.requests["ReceiveMessage"])
        poll.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await poll
    # The end of the connection is on its way: a later round trip comes after it.
    for _ in range(3):
        async with client_of(double.url) as sqs:
            await sqs.get_queue_url(QueueName="q")


async def test_an_abandoned_poll_hides_the_next_message_as_on_aws(double, sqs):
    await abandoned_poll(double)
    await sqs.send_message(QueueUrl=double.queue_url("q"), MessageBody="x")
    assert double.counts("q") == (0, 1, 0)


async def test_an_abandoned_poll_takes_nothing_when_zombie_polls_are_off():
    async with SQSDouble(zombie_polls=False) as double, client_of(double.url) as sqs:
        double.create_queue("q")
        await abandoned_poll(double)
        await sqs.send_message(QueueUrl=double.queue_url("q"), MessageBody="x")
        assert double.counts("q") == (1, 0, 0)


async def test_open_polls_end_when_the_double_does(double):
    async with SQSDouble() as short, client_of(short.url) as sqs:
        url = short.create_queue("q")
        poll = asyncio.create_task(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))
        await until(lambda: short.requests["ReceiveMessage"])
        await short.__aexit__(None, None, None)
        assert "Messages" not in await asyncio.wait_for(poll, 10)


# FIFO queues


async def test_a_fifo_queue_keeps_its_order_through_the_sdk(double, sqs):
    url = double.create_queue("q.fifo", FifoQueue=True, ContentBasedDeduplication=True)
    entries = [{"Id": str(n), "MessageBody": str(n), "MessageGroupId": "g"} for n in range(3)]
    sent = await sqs.send_message_batch(QueueUrl=url, Entries=entries)
    again = await sqs.send_message(QueueUrl=url, MessageBody="0", MessageGroupId="g")
    assert again["SequenceNumber"] == sent["Successful"][0]["SequenceNumber"]
    got = await sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=2, MessageSystemAttributeNames=["All"]
    )
    assert [message["Body"] for message in got["Messages"]] == ["0", "1"]
    assert got["Messages"][0]["Attributes"]["SequenceNumber"] == again["SequenceNumber"]
    assert "Messages" not in await sqs.receive_message(QueueUrl=url)
    records = double.messages("q.fifo")
    assert [record.group for record in records] == ["g"] * 3
    assert [str(record.sequence_number) for record in records] == [
        entry["SequenceNumber"] for entry in sent["Successful"]
    ]


async def test_settling_the_last_of_a_group_wakes_a_poll(double, sqs):
    url = double.create_queue("q.fifo", FifoQueue=True, ContentBasedDeduplication=True)
    for body in ("first", "second"):
        await sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g")
    (first,) = (await sqs.receive_message(QueueUrl=url))["Messages"]
    poll = asyncio.create_task(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))
    await until(lambda: double.requests["ReceiveMessage"] == 2)
    await sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    (second,) = (await asyncio.wait_for(poll, 10))["Messages"]
    assert second["Body"] == "second"


async def test_polls_of_one_attempt_get_the_same_messages(double, sqs):
    url = double.create_queue("q.fifo", FifoQueue=True, ContentBasedDeduplication=True)
    params = {"QueueUrl": url, "WaitTimeSeconds": 20}
    polls = []
    for attempt in ({"ReceiveRequestAttemptId": "a"}, {}, {"ReceiveRequestAttemptId": "a"}):
        polls.append(asyncio.create_task(sqs.receive_message(**params, **attempt)))
        await until(lambda: double.requests["ReceiveMessage"] == len(polls))
    await sqs.send_message(QueueUrl=url, MessageBody="x", MessageGroupId="g")
    first, again = [await asyncio.wait_for(polls[n], 10) for n in (0, 2)]
    assert first["Messages"] == again["Messages"]
    assert not polls[1].done()
    await sqs.send_message(QueueUrl=url, MessageBody="y", MessageGroupId="h")
    assert (await asyncio.wait_for(polls[1], 10))["Messages"][0]["Body"] == "y"


# Faults and access


async def test_chosen_entries_fail_through_the_sdk(double, sqs):
    fault = double.fail_entries(
        "SendMessageBatch", lambda entry: entry["MessageBody"] == "b", code="Busy"
    )
    entries = [{"Id": name, "MessageBody": name} for name in "abc"]
    got = await sqs.send_message_batch(QueueUrl=double.queue_url("q"), Entries=entries)
    assert [item["Id"] for item in got["Successful"]] == ["a", "c"]
    assert [(item["Id"], item["Code"], item["SenderFault"]) for item in got["Failed"]] == [
        ("b", "Busy", False)
    ]
    assert fault.hits == 1
    double.clear_faults()
    got = await sqs.send_message_batch(QueueUrl=double.queue_url("q"), Entries=entries)
    assert len(got["Successful"]) == 3


async def test_dropped_entries_are_in_neither_list_through_the_sdk(double, sqs):
    double.drop_entries("SendMessageBatch", 1.0)
    entries = [{"Id": "a", "MessageBody": "x"}]
    got = await sqs.send_message_batch(QueueUrl=double.queue_url("q"), Entries=entries)
    assert not got.get("Successful")
    assert not got.get("Failed")
    assert double.counts("q") == (0, 0, 0)


@pytest.mark.parametrize(
    ("code", "status"), [("RequestThrottled", 403), ("ThrottlingException", 400)]
)
async def test_throttling_refuses_as_many_requests_as_asked_for(double, sqs, code, status):
    double.throttle("*", 2, code=code)
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            await sqs.get_queue_url(QueueName="q")
        assert caught.value.response["Error"]["Code"] == code
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    await sqs.get_queue_url(QueueName="q")


async def test_a_lowered_limit_refuses_what_was_legal_before(double, sqs):
    url = double.queue_url("q")
    await sqs.send_message(QueueUrl=url, MessageBody="x" * 100)
    double.lower_limit("q", 99)
    with pytest.raises(ClientError, match="shorter than 99 bytes"):
        await sqs.send_message(QueueUrl=url, MessageBody="x" * 100)


async def test_another_access_key_is_refused_as_aws_refuses_it(double, sqs):
    double.expected_access_key = "AKIDOTHER"
    with pytest.raises(ClientError) as caught:
        await sqs.list_queues()
    assert caught.value.response["Error"]["Code"] == "InvalidClientTokenId"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert not double.requests
    double.expected_access_key = "AKIDTEST"
    await sqs.list_queues()


async def test_an_unsigned_request_is_refused_when_a_key_is_expected(double):
    double.expected_access_key = "AKIDTEST"
    async with aiohttp.ClientSession() as session, session.post(double.url) as response:
        assert response.status == 403
        assert response.headers["x-amzn-query-error"] == "MissingAuthenticationToken;Sender"


# In a thread, and as a process


def boto_client(url):
    return boto3.client("sqs", endpoint_url=url, config=Config(**CONFIG), **OPTIONS)


def test_a_double_in_a_thread_serves_a_synchronous_client():
    before = threading.active_count()
    with SQSDouble.in_thread() as double:
        url = double.create_queue("q")
        client = boto_client(double.url)
        client.send_message(QueueUrl=url, MessageBody="x")
        assert double.counts("q") == (1, 0, 0)
        assert [message.body for message in double.messages("q")] == ["x"]
        with pytest.raises(SQSError):
            double.counts("missing")
        client.close()
    assert threading.active_count() == before


def test_what_a_test_in_another_thread_changes_wakes_a_poll():
    with SQSDouble.in_thread() as double:
        url = double.create_queue("q")
        client, got = boto_client(double.url), []
        poll = threading.Thread(
            target=lambda: got.append(client.receive_message(QueueUrl=url, WaitTimeSeconds=20))
        )
        poll.start()
        deadline = time.monotonic() + 30
        while not double.requests["ReceiveMessage"] and time.monotonic() < deadline:
            double.counts("q")
        other = boto_client(double.url)
        other.send_message(QueueUrl=url, MessageBody="x")
        poll.join(10)
        assert len(got[0]["Messages"]) == 1
        client.close()
        other.close()


def test_a_double_that_cannot_start_in_its_thread_says_why_to_the_caller():
    class Broken(SQSDouble):
        async def __aenter__(self):
            raise OSError("no sockets today")

    with pytest.raises(OSError, match="no sockets today"), Broken.in_thread():
        pass


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_prints_its_url_first_and_ends_cleanly_on_a_signal(number):
    command = [sys.executable, "-m", "mqtransport.testing.sqs_double", "--port", "0"]
    with subprocess.Popen(
        [*command, "--queue", "a", "--queue", "b.fifo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            url = process.stdout.readline().strip()
            client = boto_client(url)
            names = [found.rpartition("/")[2] for found in client.list_queues()["QueueUrls"]]
            client.close()
            assert names == ["a", "b.fifo"]
            process.send_signal(number)
            assert process.wait(30) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_the_double_shares_no_rules_with_the_library():
    for path in Path(package.__file__).parent.glob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith(("from mqtransport", "import mqtransport")):
                assert line.startswith("from mqtransport.clock "), path

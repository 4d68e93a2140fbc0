"""The SQS driver against a strict double, and through a proxy that spoils requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from mqtransport.broker import QueueInfo, QueueOptions
from mqtransport.brokers.sqs import SQSBroker, codec
from mqtransport.errors import (
    BrokerError,
    BrokerUnavailableError,
    ClosedError,
    CredentialsError,
    QueueNotFoundError,
    RefusedError,
    ThrottledError,
    UsageError,
)
from mqtransport.message import Attribute, Outgoing
from mqtransport.testing.proxy import FaultProxy
from mqtransport.testing.sqs_double import SQSDouble

# Less than a full poll, so a poll that only the socket's own timeout ends is seen.
PATIENCE_S = 15.0
KEY, SECRET = "CANARYkeyid", "CANARYsecretkey"


def outgoing(body: str = "{}", **given: Any) -> Outgoing:
    return Outgoing("m", body, {"Name": Attribute("String", "x")}, **given)


@pytest.fixture
async def double() -> AsyncIterator[SQSDouble]:
    async with SQSDouble() as started:
        started.create_queue("orders")
        yield started


@pytest.fixture
async def proxy(double: SQSDouble) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(double.url) as started:
        yield started


OPTIONS: dict[str, Any] = {"access_key": KEY, "secret_key": SECRET, "region": "eu-west-1"}


@pytest.fixture(autouse=True, params=["fast path", "fast path, orjson", "aiobotocore"])
def _path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every claim holds on both ways to SQS, with and without orjson."""
    monkeypatch.setitem(OPTIONS, "fast_path", request.param != "aiobotocore")
    dumps, loads = codec.codec(orjson if "orjson" in request.param else None)
    monkeypatch.setattr(codec, "_dumps", dumps)
    monkeypatch.setattr(codec, "_loads", loads)


@contextlib.asynccontextmanager
async def connected(url: str, **given: Any) -> AsyncIterator[SQSBroker]:
    options = OPTIONS | given
    async with SQSBroker(endpoint_url=url, **options) as broker:
        yield broker


async def warm_up(broker: SQSBroker, double: SQSDouble) -> None:
    """Let both clients make the requests from which the fast path learns its way."""
    double.create_queue("warm")
    for _ in range(3):
        await broker.send("warm", [outgoing()])
        await broker.receive("warm", max_messages=1, wait_s=0, lease_s=30)
    double.reset_counts()


@pytest.fixture
async def broker(double: SQSDouble) -> AsyncIterator[SQSBroker]:
    async with connected(double.url) as made:
        await warm_up(made, double)
        yield made


@pytest.fixture
async def spoiled(proxy: FaultProxy, double: SQSDouble) -> AsyncIterator[SQSBroker]:
    """A broker behind the proxy that knows the queue's URL already, and waits 1 s from now on."""
    async with connected(proxy.url) as made:
        await warm_up(made, double)
        await made.send("orders", [outgoing("first")])
        made.timeout_s = 1.0
        yield made


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - the double's counters have no event
            await asyncio.sleep(0.01)


async def failure(call: Any) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        async with asyncio.timeout(PATIENCE_S):
            await call
    return caught.value


def calls(broker: SQSBroker, queue: str) -> dict[str, Any]:
    """One coroutine per verb; unused ones have to be closed."""
    return {
        "send": lambda: broker.send(queue, [outgoing()]),
        "receive": lambda: broker.receive(queue, max_messages=1, wait_s=0, lease_s=30),
        "ack": lambda: broker.ack(queue, ["r"]),
        "release": lambda: broker.release(queue, ["r"], delay_s=0),
        "extend": lambda: broker.extend(queue, ["r"], lease_s=30),
        "describe": lambda: broker.describe(queue),
        "declare": lambda: broker.declare(queue, QueueOptions()),
        "ping": lambda: broker.ping([queue]),
    }


class TestSending:
    async def test_what_sqs_would_refuse_is_not_sent_and_hurts_no_neighbour(
        self, broker: SQSBroker, double: SQSDouble
    ):
        batch = [
            outgoing("good"),
            outgoing("bad \x00"),
            outgoing("late", delay_s=900.5),
            outgoing("x" * 1_048_577),
            outgoing("fine"),
        ]
        results = await broker.send("orders", batch)
        assert [type(result) for result in results] == [
            str,
            RefusedError,
            RefusedError,
            RefusedError,
            str,
        ]
        assert [record.body for record in double.messages("orders")] == ["good", "fine"]

    async def test_a_batch_of_refused_messages_makes_no_send(
        self, broker: SQSBroker, double: SQSDouble
    ):
        (result,) = await broker.send("orders", [outgoing("")])
        assert isinstance(result, RefusedError)
        assert double.requests["SendMessageBatch"] == 0

    async def test_refused_throttled_and_forgotten_entries_are_told_apart(
        self, broker: SQSBroker, double: SQSDouble
    ):
        def body(text: str) -> Any:
            return lambda entry: entry["MessageBody"] == text

        double.fail_entries("SendMessageBatch", body("a"), code="Odd", sender_fault=True)
        double.fail_entries("SendMessageBatch", body("b"), code="RequestThrottled")
        double.fail_entries("SendMessageBatch", body("c"), code="InternalError")
        double.drop_entries("SendMessageBatch", body("d"))
        results = await broker.send("orders", [outgoing(text) for text in "abcde"])
        assert [type(result) for result in results] == [
            RefusedError,
            ThrottledError,
            BrokerUnavailableError,
            BrokerUnavailableError,
            str,
        ]
        assert isinstance(results[3], BrokerError)
        assert results[3].maybe_done


class TestQueues:
    async def test_the_url_is_looked_up_once(self, broker: SQSBroker, double: SQSDouble):
        await asyncio.gather(*(broker.send("orders", [outgoing()]) for _ in range(5)))
        assert double.requests["GetQueueUrl"] == 1

    async def test_a_missing_queue_is_looked_up_again(self, broker: SQSBroker, double: SQSDouble):
        double.throttle("SendMessageBatch", code="QueueDoesNotExist")
        await broker.describe("orders")
        assert isinstance(await failure(broker.send("orders", [outgoing()])), QueueNotFoundError)
        await broker.send("orders", [outgoing()])
        assert double.requests["GetQueueUrl"] == 2

    async def test_a_url_of_another_host_goes_to_the_endpoint(
        self, broker: SQSBroker, double: SQSDouble
    ):
        url = "https://sqs.eu-west-1.amazonaws.com/000000000000/orders"
        await broker.send(url, [outgoing()])
        assert double.counts("orders")[0] == 1
        assert double.requests["GetQueueUrl"] == 0

    async def test_an_ordered_queue_is_created_as_one_with_its_dead_letter_queue(
        self, broker: SQSBroker, double: SQSDouble
    ):
        await broker.declare("steps.fifo", QueueOptions(dead_letter_queue="dead.fifo"))
        for name in ("steps.fifo", "dead.fifo"):
            assert (await broker.describe(name)).fifo is True

    async def test_a_dead_letter_queue_of_the_other_kind_is_refused_without_a_call(
        self, broker: SQSBroker, double: SQSDouble
    ):
        for queue, dead in (("steps.fifo", "dead"), ("steps", "dead.fifo")):
            error = await failure(broker.declare(queue, QueueOptions(dead_letter_queue=dead)))
            assert type(error) is RefusedError
        assert not double.requests

    async def test_a_receive_names_its_attempt_on_ordered_queues_only(
        self, broker: SQSBroker, double: SQSDouble
    ):
        double.create_queue("steps.fifo", FifoQueue=True)
        for queue in ("steps.fifo", "orders"):  # the double refuses it on a standard queue
            await broker.receive(queue, max_messages=1, wait_s=0, lease_s=30, attempt_id="a")

    async def test_declare_creates_with_a_dead_letter_queue(
        self, broker: SQSBroker, double: SQSDouble
    ):
        options = QueueOptions(lease_s=12.1, dead_letter_queue="new-dlq", max_receive_count=7)
        await broker.declare("new", options)
        info = await broker.describe("new")
        assert info.lease_s == 13.0
        assert (info.dead_letter_queue, info.max_receive_count) == ("new-dlq", 7)
        assert await broker.describe("new-dlq")

    async def test_declare_sets_the_retention_asked_for(self, broker: SQSBroker, double: SQSDouble):
        await broker.declare("new", QueueOptions(retention_s=3600.5))
        assert (await broker.describe("new")).retention_s == 3601.0
        await broker.declare("other", QueueOptions())
        assert (await broker.describe("other")).retention_s == 345_600.0

    async def test_declare_keeps_a_queue_that_exists(self, broker: SQSBroker, double: SQSDouble):
        before = await broker.describe("orders")
        await broker.declare("orders", QueueOptions(lease_s=99))
        assert await broker.describe("orders") == before
        assert double.requests["CreateQueue"] == 0

    async def test_declare_keeps_a_queue_made_in_between(
        self, broker: SQSBroker, double: SQSDouble
    ):
        double.throttle("GetQueueUrl", code="QueueDoesNotExist")
        await broker.declare("orders", QueueOptions(lease_s=99))
        assert (await broker.describe("orders")).lease_s == 30.0

    async def test_describe_without_permission_knows_nothing(
        self, broker: SQSBroker, double: SQSDouble
    ):
        double.throttle("GetQueueAttributes", code="AccessDenied")
        assert await broker.describe("orders") == QueueInfo()


class TestPing:
    @pytest.mark.parametrize("queues", [[], ["missing"], ["bad name"], ["orders"]])
    async def test_one_call_and_no_list(self, broker: SQSBroker, double: SQSDouble, queues: Any):
        await broker.ping(queues)
        assert double.requests.total() == 1
        assert "ListQueues" not in double.requests

    async def test_a_known_queue_is_asked_for_its_attributes(
        self, broker: SQSBroker, double: SQSDouble
    ):
        await broker.ping(["orders"])
        await broker.ping(["orders"])
        assert double.requests == {"GetQueueUrl": 1, "GetQueueAttributes": 1}

    async def test_a_denial_proves_reach_and_credentials(
        self, broker: SQSBroker, double: SQSDouble
    ):
        double.throttle("*", code="AccessDenied")
        await broker.ping(["orders"])

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("ExpiredToken", CredentialsError),
            ("InvalidClientTokenId", CredentialsError),
            ("SignatureDoesNotMatch", CredentialsError),
            ("RequestThrottled", ThrottledError),
            ("InternalFailure", BrokerUnavailableError),
        ],
    )
    async def test_anything_else_fails(
        self, broker: SQSBroker, double: SQSDouble, code: str, expected: type[BrokerError]
    ):
        double.throttle("*", code=code)
        assert type(await failure(broker.ping(["orders"]))) is expected


async def test_a_poll_that_finds_nothing_is_no_error(broker: SQSBroker):
    assert await broker.receive("orders", max_messages=10, wait_s=0, lease_s=30) == []


async def test_the_timeout_does_not_cut_the_wait(double: SQSDouble):
    async with connected(double.url, timeout_s=1.0) as broker:
        assert await broker.receive("orders", max_messages=1, wait_s=2, lease_s=30) == []


class TestFaults:
    @pytest.mark.parametrize("mode", ["garbage", "garbage_empty", "truncate", "reset_after"])
    async def test_no_spoiled_answer_is_a_confirmation(
        self, spoiled: SQSBroker, proxy: FaultProxy, mode: Any
    ):
        delivery = (await spoiled.receive("orders", max_messages=1, wait_s=0, lease_s=60))[0]
        proxy.add(mode=mode)
        for verb, call in (
            ("send", spoiled.send("orders", [outgoing(), outgoing()])),
            ("ack", spoiled.ack("orders", [delivery.receipt])),
            ("release", spoiled.release("orders", [delivery.receipt], delay_s=0)),
            ("extend", spoiled.extend("orders", [delivery.receipt], lease_s=5)),
        ):
            try:
                results: Any = await call
            except BrokerError as error:
                results = [error]
            for result in results:
                assert type(result) is BrokerUnavailableError, verb
                assert result.maybe_done, verb

    @pytest.mark.parametrize("mode", ["garbage", "truncate", "reset_before", "http_503"])
    @pytest.mark.parametrize("verb", ["receive", "describe", "ping"])
    async def test_no_spoiled_answer_is_an_answer(
        self, spoiled: SQSBroker, proxy: FaultProxy, mode: Any, verb: str
    ):
        proxy.add(mode=mode)
        error = await failure(calls(spoiled, "orders")[verb]())
        assert type(error) is BrokerUnavailableError

    async def test_a_reset_after_the_request_may_have_been_done(
        self, spoiled: SQSBroker, proxy: FaultProxy, double: SQSDouble
    ):
        proxy.add("SendMessageBatch", mode="reset_after", count=1)
        error = await failure(spoiled.send("orders", [outgoing("second")]))
        assert type(error) is BrokerUnavailableError
        assert error.maybe_done
        assert [record.body for record in double.messages("orders")] == ["first", "second"]

    async def test_a_refused_connection_was_certainly_not_done(
        self, spoiled: SQSBroker, proxy: FaultProxy
    ):
        proxy.refuse()
        # The first may still meet the connection kept from before, and that tells nothing.
        await failure(spoiled.send("orders", [outgoing()]))
        error = await failure(spoiled.send("orders", [outgoing()]))
        assert type(error) is BrokerUnavailableError
        assert not error.maybe_done

    async def test_an_unknown_host_was_certainly_not_done(self):
        url = "http://localhost/000000000000/orders"
        async with connected("http://mqtransport.invalid") as broker:
            error = await failure(broker.send(url, [outgoing()]))
        assert type(error) is BrokerUnavailableError
        assert not error.maybe_done

    @pytest.mark.parametrize("verb", ["send", "receive", "ack", "release", "extend", "describe"])
    async def test_a_hang_ends_within_the_timeout(
        self, spoiled: SQSBroker, proxy: FaultProxy, verb: str
    ):
        proxy.add(mode="hang")
        error = await failure(calls(spoiled, "orders")[verb]())
        assert type(error) is BrokerUnavailableError
        assert error.maybe_done

    @pytest.mark.parametrize("mode", ["hang", "reset_after", "garbage", "http_503"])
    async def test_a_lookup_that_fails_has_sent_nothing(
        self, spoiled: SQSBroker, proxy: FaultProxy, double: SQSDouble, mode: Any
    ):
        double.create_queue("other")
        proxy.add("GetQueueUrl", mode=mode)
        error = await failure(spoiled.send("other", [outgoing()]))
        assert type(error) is BrokerUnavailableError
        assert not error.maybe_done

    async def test_the_sdk_never_retries(self, spoiled: SQSBroker, proxy: FaultProxy):
        proxy.calls.clear()
        proxy.add("SendMessageBatch", mode="http_503")
        error = await failure(spoiled.send("orders", [outgoing()]))
        assert error.maybe_done
        assert proxy.calls["SendMessageBatch"] == 1

    async def test_polls_that_fill_their_pool_delay_no_ack(self, double: SQSDouble):
        double.create_queue("empty")
        async with connected(double.url, poll_connections=10, control_connections=1) as broker:
            await broker.send("orders", [outgoing()])
            (delivery,) = await broker.receive("orders", max_messages=1, wait_s=1, lease_s=30)
            polls = [
                asyncio.create_task(broker.receive("empty", max_messages=10, wait_s=20, lease_s=30))
                for _ in range(10)
            ]
            await eventually(lambda: double.requests["ReceiveMessage"] == 11)
            assert await broker.ack("orders", [delivery.receipt]) == [None]
            assert not any(poll.done() for poll in polls)
            for poll in polls:
                poll.cancel()
            await asyncio.gather(*polls, return_exceptions=True)

    async def test_cancellation_is_never_swallowed(self, broker: SQSBroker, double: SQSDouble):
        poll = asyncio.create_task(broker.receive("orders", max_messages=1, wait_s=20, lease_s=30))
        await eventually(lambda: double.requests["ReceiveMessage"] == 1)
        poll.cancel()
        with pytest.raises(asyncio.CancelledError):
            await poll

    async def test_another_loop_gets_no_connection_of_this_one(
        self, broker: SQSBroker, double: SQSDouble
    ):
        def elsewhere() -> None:
            asyncio.run(broker.ack("orders", ["r"]))

        with pytest.raises(UsageError, match="another event loop"):
            await asyncio.to_thread(elsewhere)
        await broker.send("orders", [outgoing()])
        assert double.requests["DeleteMessageBatch"] == 0

    async def test_closing_under_a_poll_ends_it_as_unavailable(self, double: SQSDouble):
        async with connected(double.url) as broker:
            poll = asyncio.create_task(
                broker.receive("orders", max_messages=1, wait_s=20, lease_s=30)
            )
            await eventually(lambda: double.requests["ReceiveMessage"] == 1)
            await broker.aclose()
            assert isinstance(await failure(poll), BrokerUnavailableError)
            with pytest.raises(ClosedError):
                await broker.ack("orders", ["r"])

    async def test_closing_ends_what_waits_for_a_connection_and_cancels_nobody(
        self, double: SQSDouble
    ):
        async with connected(double.url, poll_connections=1) as broker:
            polls = [
                asyncio.create_task(broker.receive("orders", max_messages=1, wait_s=20, lease_s=30))
                for _ in range(3)
            ]
            await eventually(lambda: double.requests["ReceiveMessage"] == 1)
            await broker.aclose()
            ends = await asyncio.gather(*polls, return_exceptions=True)
        assert [type(end) for end in ends] == [BrokerUnavailableError] * 3


class TestBrokenReplies:
    """Replies that are JSON with a good status, but none of SQS's."""

    @pytest.fixture
    async def reply(self) -> AsyncIterator[Any]:
        bodies: list[tuple[int, bytes]] = [(200, b"{}")]
        writers: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
                    await reader.readexactly(int(length))
                    status, body = bodies[0]
                    writer.write(
                        b"HTTP/1.1 %d X\r\nx-amzn-requestid: r\r\ncontent-length: %d\r\n\r\n%s"
                        % (status, len(body), body)
                    )

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        def answer(status: int, body: bytes) -> str:
            bodies[0] = (status, body)
            return url

        yield answer
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    @pytest.mark.parametrize(
        "body",
        [
            b"[]",
            b"null",
            b'"x"',
            b"\xff",
            b"[" * 50_000,
            b'{"Messages": "abc"}',
            b'{"Messages": [null]}',
            b'{"Messages": [{"MessageId": "m", "Body": "b"}]}',
            b'{"Messages": [{"MessageAttributes": {"A": {"BinaryValue": "!"}}}]}',
        ],
    )
    async def test_a_receive_is_unavailable(self, reply: Any, body: bytes):
        url = reply(200, b"")
        async with connected(url) as broker:
            queue = f"{url}/000000000000/orders"
            assert await broker.receive(queue, max_messages=1, wait_s=0, lease_s=1) == []
            reply(200, body)
            call = broker.receive(queue, max_messages=1, wait_s=0, lease_s=1)
            assert type(await failure(call)) is BrokerUnavailableError

    @pytest.mark.parametrize("status", [302, 400, 404, 500])
    @pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"__type": 7}', b"<html>"])
    async def test_an_error_that_is_not_sqs_s_is_unavailable(
        self, reply: Any, status: int, body: bytes
    ):
        url = reply(200, b"{}")
        async with connected(url) as broker:
            queue = f"{url}/000000000000/orders"
            assert isinstance((await broker.send(queue, [outgoing()]))[0], BrokerError)
            reply(status, body)
            error = await failure(broker.send(queue, [outgoing()]))
            assert type(error) is BrokerUnavailableError
            assert error.maybe_done


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


class TestCredentials:
    @pytest.fixture(autouse=True)
    def _files(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def rotate(self, tmp_path: Path, key: str) -> None:
        (tmp_path / "credentials").write_text(
            f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n"
        )

    async def test_rotated_files_are_read_without_a_restart_but_not_in_a_storm(
        self, double: SQSDouble, tmp_path: Path
    ):
        clock = ManualClock()
        self.rotate(tmp_path, "OLD")
        double.expected_access_key = "OLD"
        async with connected(double.url, access_key=None, secret_key=None, clock=clock) as broker:
            await broker.ping(["orders"])
            double.expected_access_key = "NEW"
            self.rotate(tmp_path, "NEW")
            clock.now += 29
            for _ in range(3):
                assert isinstance(await failure(broker.ping(["orders"])), CredentialsError)
            clock.now += 1
            assert isinstance(await failure(broker.ping(["orders"])), CredentialsError)
            await broker.ping(["orders"])

    async def test_no_credentials_at_all_are_a_credentials_error(self, double: SQSDouble):
        async with connected(double.url, access_key=None, secret_key=None) as broker:
            error = await failure(broker.ping(["orders"]))
            assert isinstance(error, CredentialsError)
            assert not double.requests

    async def test_a_provider_that_fails_is_a_credentials_error_and_no_answer_of_sqs(
        self, double: SQSDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        (tmp_path / "config").write_text("[default]\ncredential_process = /nonexistent/x\n")
        async with connected(double.url, access_key=None, secret_key=None) as broker:
            assert isinstance(await failure(broker.ping(["orders"])), CredentialsError)

    async def test_a_wrong_key_is_a_credentials_error(self, double: SQSDouble):
        double.expected_access_key = "OTHER"
        async with connected(double.url) as broker:
            assert isinstance(await failure(broker.ping(["orders"])), CredentialsError)


async def test_no_secret_and_no_body_is_ever_shown(
    double: SQSDouble, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
):
    # The SDK prints keys and bodies at DEBUG itself; the claim is about our own loggers.
    caplog.set_level(logging.DEBUG, "mqtransport")
    shown: list[str] = []
    async with connected(proxy.url, timeout_s=1.0) as broker:
        shown += [repr(broker), str(broker)]
        await broker.send("orders", [outgoing("CANARYbody")])
        await broker.receive("orders", max_messages=1, wait_s=0, lease_s=30)
        for code in ("SignatureDoesNotMatch", "AccessDenied", "QueueDoesNotExist", "Odd"):
            for call in (
                broker.send("orders", [outgoing("CANARYbody")]),
                broker.ack("orders", ["CANARYreceipt"]),
            ):
                double.throttle("*", code=code)
                shown.append(repr(await failure(call)))
        shown += [repr(item) for item in await broker.send("orders", [outgoing("CANARY\x00")])]
        shown += [repr(item) for item in await broker.ack("orders", ["CANARYreceipt"])]
        for mode in ("garbage", "reset_after", "truncate", "http_503", "hang"):
            proxy.add(mode=mode, count=1)
            shown.append(repr(await failure(broker.describe("orders"))))
        proxy.refuse()
        shown.append(repr(await failure(broker.send("orders", [outgoing("CANARYbody")]))))
        shown += [repr(broker), str(vars(broker))]
    shown += [repr(broker), caplog.text]
    assert caplog.records
    assert len(shown) > 15
    assert not [text for text in shown if "CANARY" in text or "000000000000" in text]


async def test_a_port_that_nobody_listens_on_fails_fast(closed_url):
    async with connected(closed_url) as broker:
        error = await failure(broker.ping([]))
    assert type(error) is BrokerUnavailableError
    assert f"no connection to {closed_url.removeprefix('http://')} " in str(error)


async def test_a_message_of_one_mebibyte_is_sent_without_a_warning(broker: SQSBroker) -> None:
    # Every character of it is escaped in the request, so that is twice as large.
    largest = '"' * (1_048_576 - len("NameString" + "x"))
    (sent,) = await broker.send("orders", [outgoing(largest)])
    assert isinstance(sent, str), sent
    (raw,) = await broker.receive("orders", max_messages=1, wait_s=0, lease_s=30)
    assert raw.body == largest

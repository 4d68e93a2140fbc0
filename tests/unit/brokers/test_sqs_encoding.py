"""The wire of SQS: what is sent, and what an answer does and does not prove."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtransport.broker import QueueInfo
from mqtransport.brokers.sqs import encoding
from mqtransport.brokers.sqs.errors import BadReplyError, Call
from mqtransport.errors import (
    BrokerError,
    BrokerUnavailableError,
    RefusedError,
    StaleReceiptError,
    ThrottledError,
)
from mqtransport.message import Attribute, Outgoing

CALL = Call("send to", "sqs:SendMessage", "orders", "eu-west-1")


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def confirm(reply: dict[str, Any], bodies: list[str]) -> list[str | BrokerError]:
    entries = encoding.outcomes(CALL, reply, range(len(bodies)))
    return [
        encoding.confirmed(CALL, entry, body) for entry, body in zip(entries, bodies, strict=True)
    ]


class TestEntries:
    def test_a_plain_message_is_an_id_and_a_body(self):
        assert encoding.send_entry(3, Outgoing("m", "{}", {}), fifo=False) == {
            "Id": "3",
            "MessageBody": "{}",
        }

    def test_attributes_keep_their_types(self):
        attributes = {
            "Name": Attribute("String", "x"),
            "Count": Attribute("Number.int", "7"),
            "Packed": Attribute("Binary", b"\0\1"),
        }
        entry = encoding.send_entry(0, Outgoing("m", "{}", attributes), fifo=False)
        assert entry["MessageAttributes"] == {
            "Name": {"DataType": "String", "StringValue": "x"},
            "Count": {"DataType": "Number.int", "StringValue": "7"},
            "Packed": {"DataType": "Binary", "BinaryValue": "AAE="},
        }

    @pytest.mark.parametrize(("asked", "sent"), [(0, 0), (0.001, 1), (1.0, 1), (899.2, 900)])
    def test_a_delay_is_rounded_up(self, asked: float, sent: int):
        entry = encoding.send_entry(0, Outgoing("m", "{}", {}, delay_s=asked), fifo=False)
        assert entry["DelaySeconds"] == sent

    def test_without_a_delay_the_queues_own_applies(self):
        entry = encoding.send_entry(0, Outgoing("m", "{}", {}, delay_s=None), fifo=False)
        assert "DelaySeconds" not in entry

    def test_on_a_standard_queue_a_group_is_a_fairness_hint_and_a_dedup_id_is_not_sent(self):
        message = Outgoing("m", "{}", {}, group="g", dedup_id="d")
        entry = encoding.send_entry(0, message, fifo=False)
        assert entry["MessageGroupId"] == "g"
        assert "MessageDeduplicationId" not in entry

    @pytest.mark.parametrize(("dedup_id", "sent"), [("d", "d"), (None, "m")])
    def test_on_an_ordered_queue_the_message_id_stands_in_for_a_dedup_id(
        self, dedup_id: str | None, sent: str
    ):
        message = Outgoing("m", "{}", {}, group="g", dedup_id=dedup_id)
        entry = encoding.send_entry(0, message, fifo=True)
        assert entry["MessageGroupId"] == "g"
        assert entry["MessageDeduplicationId"] == sent

    def test_ids_are_positions(self):
        assert encoding.receipt_entries(["a", "b"], VisibilityTimeout=0) == [
            {"Id": "0", "ReceiptHandle": "a", "VisibilityTimeout": 0},
            {"Id": "1", "ReceiptHandle": "b", "VisibilityTimeout": 0},
        ]


class TestConfirming:
    def test_an_entry_with_id_and_md5_is_confirmed_in_any_order(self):
        reply = {
            "Successful": [
                {"Id": "1", "MessageId": "mb", "MD5OfMessageBody": md5("b")},
                {"Id": "0", "MessageId": "ma", "MD5OfMessageBody": md5("a")},
            ]
        }
        assert confirm(reply, ["a", "b"]) == ["ma", "mb"]

    @pytest.mark.parametrize(
        "reply",
        [
            {},
            {"Successful": []},
            {"Successful": None},
            {"Successful": "ok"},
            {"Successful": {"Id": "0"}},
            {"Successful": [None, 3, "0", []]},
            {"Successful": [{"Id": "0"}]},
            {"Successful": [{"Id": "0", "MessageId": "m"}]},
            {"Successful": [{"Id": "0", "MessageId": "", "MD5OfMessageBody": md5("a")}]},
            {"Successful": [{"Id": "0", "MessageId": 7, "MD5OfMessageBody": md5("a")}]},
            {"Successful": [{"Id": "0", "MD5OfMessageBody": md5("a")}]},
            {"Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": md5("b")}]},
            {"Successful": [{"Id": "1", "MessageId": "m", "MD5OfMessageBody": md5("a")}]},
            {
                "Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": md5("a")}],
                "Failed": [{"Id": "0", "Code": "InternalError", "SenderFault": False}],
            },
        ],
    )
    def test_anything_less_is_unknown(self, reply: dict[str, Any]):
        (result,) = confirm(reply, ["a"])
        assert type(result) is BrokerUnavailableError
        assert result.maybe_done

    def test_a_wrong_md5_is_named(self):
        reply = {"Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": md5("b")}]}
        (result,) = confirm(reply, ["a"])
        assert "MD5" in str(result)

    def test_one_failure_leaves_its_neighbours_alone(self):
        reply = {
            "Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": md5("a")}],
            "Failed": [
                {"Id": "1", "Code": "InvalidMessageContents", "SenderFault": True},
                {"Id": "2", "Code": "ThrottlingException", "SenderFault": True},
            ],
        }
        results = confirm(reply, ["a", "b", "c", "d"])
        assert results[0] == "m"
        assert [type(result) for result in results[1:]] == [
            RefusedError,
            ThrottledError,
            BrokerUnavailableError,
        ]

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(["Successful", "Failed", "Id", "Code", "MessageId"]), inner
                )
            ),
        )
    )
    def test_no_arbitrary_answer_is_ever_a_confirmation(self, value: Any):
        reply = value if isinstance(value, dict) else {"Successful": value, "Failed": value}
        assert all(isinstance(result, BrokerError) for result in confirm(reply, ["a", "b"]))


class TestSettling:
    def test_each_receipt_gets_its_own_result(self):
        reply = {
            "Successful": [{"Id": "1"}],
            "Failed": [
                {"Id": "0", "Code": "ReceiptHandleIsInvalid", "SenderFault": True},
                {"Id": "2", "Code": "InternalError", "SenderFault": False},
            ],
        }
        stale, done, internal, missing = encoding.settled(CALL, reply, 4)
        assert type(stale) is StaleReceiptError
        assert done is None
        assert type(internal) is BrokerUnavailableError
        assert type(missing) is BrokerUnavailableError
        assert missing.maybe_done

    def test_an_empty_answer_settles_nothing(self):
        assert all(encoding.settled(CALL, {}, 10))


def message(**changes: Any) -> dict[str, Any]:
    good = {
        "MessageId": "m",
        "ReceiptHandle": "r",
        "Body": "b",
        "MD5OfBody": md5("b"),
        "Attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1700000000123"},
    }
    merged = good | changes
    return {key: value for key, value in merged.items() if value is not None}


class TestDeliveries:
    def test_a_message_is_mapped(self):
        system = {
            "ApproximateReceiveCount": "2",
            "SentTimestamp": "1700000000123",
            "ApproximateFirstReceiveTimestamp": "1700000001000",
            "MessageGroupId": "g",
        }
        carried = {
            "Name": {"DataType": "String", "StringValue": "x"},
            "Packed": {"DataType": "Binary.x", "BinaryValue": "AA=="},
        }
        reply = {"Messages": [message(Attributes=system, MessageAttributes=carried)]}
        (delivery,), faults = encoding.deliveries(reply)
        assert faults == []
        assert (delivery.broker_id, delivery.receipt, delivery.body) == ("m", "r", "b")
        assert delivery.attempt == 2
        assert delivery.sent_at == 1700000000.123
        assert delivery.first_received_at == 1700000001.0
        assert delivery.group == "g"
        assert delivery.attributes == {
            "Name": Attribute("String", "x"),
            "Packed": Attribute("Binary.x", b"\0"),
        }

    @pytest.mark.parametrize(
        "broken",
        [
            message(MessageId=None),
            message(ReceiptHandle=None),
            message(ReceiptHandle=""),
            message(Body=None),
            message(Body=7),
            message(MD5OfBody=md5("other")),
            message(Attributes=None),
            message(Attributes={}),
            message(Attributes={"ApproximateReceiveCount": "0"}),
            message(Attributes={"ApproximateReceiveCount": "many"}),
            message(Attributes={"ApproximateReceiveCount": True}),
            message(Attributes={"ApproximateReceiveCount": "1", "MessageGroupId": 7}),
            message(Attributes={"ApproximateReceiveCount": "1", "MessageGroupId": ["g"]}),
            message(MessageAttributes=[]),
            message(MessageAttributes={"Name": {"DataType": "String"}}),
            message(MessageAttributes={"Name": {"StringValue": "x"}}),
            message(MessageAttributes={"Name": None, "Other": "x"}),
            "text",
            None,
        ],
    )
    def test_a_broken_message_is_an_error_and_no_half_delivery(self, broken: Any):
        with pytest.raises(BadReplyError):
            encoding.deliveries({"Messages": [broken]})

    def test_a_broken_message_leaves_its_neighbours_alone(self):
        good, faults = encoding.deliveries({"Messages": [message(Body=None), message()]})
        assert [delivery.receipt for delivery in good] == ["r"]
        assert len(faults) == 1

    @pytest.mark.parametrize("stamp", ["9" * 400, 10**30, "soon", 1.5, None, []])
    def test_a_time_that_cannot_be_read_is_unknown(self, stamp: Any):
        system = {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": stamp,
            "ApproximateFirstReceiveTimestamp": stamp,
        }
        (delivery,), faults = encoding.deliveries({"Messages": [message(Attributes=system)]})
        assert (delivery.sent_at, delivery.first_received_at, faults) == (None, None, [])

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            ({}, b"{}"),
            ({}, b'{"Messages": []}'),
            ({}, b'{"Messages": null}'),
            ({"x-amzn-requestid": "r"}, b""),
            ({"x-amzn-requestid": "r"}, b"{}"),
            ({"x-amzn-requestid": "r"}, b'{"Future": 1}'),
        ],
    )
    def test_an_empty_poll_is_empty(self, headers: dict[str, str], body: bytes):
        reply = {encoding.RAW: {"headers": headers, "body": body}}
        assert encoding.deliveries(reply) == ([], [])

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            ({}, b""),
            ({}, b"<html>sign in</html>"),
            ({"x-amzn-requestid": "r"}, b"<html>sign in</html>"),
            ({}, b'{"status": "ok"}'),
            ({"x-amzn-requestid": "r"}, b"[]"),
            ({}, b'"text"'),
            ({}, b"\xff\xfe"),
            ({}, b"[" * 100_000),
        ],
    )
    def test_garbage_is_told_apart_from_an_empty_poll(self, headers: dict[str, str], body: bytes):
        with pytest.raises(BadReplyError):
            encoding.deliveries({encoding.RAW: {"headers": headers, "body": body}})

    @pytest.mark.parametrize("reply", [{}, {"Messages": "text"}, {"Messages": {}}])
    def test_a_list_that_is_none_is_garbage(self, reply: dict[str, Any]):
        with pytest.raises(BadReplyError):
            encoding.deliveries(reply)


class TestQueueInfo:
    def test_attributes_are_mapped(self):
        told = {
            "MaximumMessageSize": "262144",
            "ApproximateNumberOfMessages": "3",
            "ApproximateNumberOfMessagesNotVisible": "2",
            "ApproximateNumberOfMessagesDelayed": "1",
            "VisibilityTimeout": "30",
            "MessageRetentionPeriod": "345600",
            "DelaySeconds": "5",
            "RedrivePolicy": encoding.redrive_policy("arn:aws:sqs:eu-west-1:1234:dead", 7),
        }
        assert encoding.queue_info(told) == QueueInfo(
            max_message_bytes=262144,
            depth=3,
            in_flight=2,
            delayed=1,
            lease_s=30.0,
            max_receive_count=7,
            dead_letter_queue="dead",
            retention_s=345_600.0,
            fifo=False,
            delay_s=5.0,
        )

    @pytest.mark.parametrize(
        ("told", "fifo"),
        [({"FifoQueue": "true"}, True), ({"DelaySeconds": "0"}, False), ({}, None)],
    )
    def test_only_an_answer_tells_whether_the_queue_is_ordered(
        self, told: dict[str, str], fifo: bool | None
    ):
        assert encoding.queue_info(told).fifo is fifo

    @pytest.mark.parametrize("policy", ["", "[", "[]", "null", '{"maxReceiveCount": null}', 3])
    def test_what_cannot_be_read_is_none(self, policy: Any):
        told = {"RedrivePolicy": policy, "VisibilityTimeout": "soon", "MaximumMessageSize": None}
        assert encoding.queue_info(told) == QueueInfo(fifo=False)

    def test_seconds_beyond_all_bounds_are_none(self):
        assert encoding.queue_info({"VisibilityTimeout": "9" * 400}).lease_s is None

    @pytest.mark.parametrize("reply", [{}, {"Attributes": None}, {"Attributes": []}])
    def test_an_answer_without_attributes_is_garbage(self, reply: dict[str, Any]):
        with pytest.raises(BadReplyError):
            encoding.attributes_of(reply)

    @pytest.mark.parametrize("url", [None, "", 3, "orders"])
    def test_an_answer_without_a_url_is_garbage(self, url: Any):
        with pytest.raises(BadReplyError):
            encoding.queue_url({"QueueUrl": url})

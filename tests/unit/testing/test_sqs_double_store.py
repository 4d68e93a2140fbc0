"""The rules of queues, leases and receipts, without HTTP and with a clock moved by hand."""

import base64
import json

import pytest
from sqs_account import ARN, Account

from mqtransport.testing.sqs_double import SQSError
from mqtransport.testing.sqs_double.faults import EntryFault, chooser


@pytest.fixture
def sqs():
    return Account()


# Leases and receipts


def test_a_received_message_is_hidden_for_the_queue_s_timeout(sqs):
    sqs.send()
    sqs.one()
    sqs.clock.now += 29.9
    assert sqs.receive() == []
    sqs.clock.now += 0.2
    assert sqs.one()


def test_the_timeout_of_the_receive_call_overrides_the_queue_s(sqs):
    sqs.send()
    sqs.one(VisibilityTimeout=5)
    sqs.clock.now += 5
    sqs.one()
    assert sqs.counts() == (0, 1, 0)


def test_a_timeout_of_zero_at_receive_leaves_the_message_visible(sqs):
    sqs.send()
    sqs.one(VisibilityTimeout=0)
    assert sqs.counts() == (1, 0, 0)


def test_a_change_counts_from_the_call_and_not_from_the_receive(sqs):
    sqs.send()
    message = sqs.one(VisibilityTimeout=60)
    sqs.clock.now += 15
    sqs.change(message, 10)
    sqs.clock.now += 9.9
    assert sqs.receive() == []
    sqs.clock.now += 0.2
    assert sqs.one()


def test_a_change_is_not_remembered_for_the_next_receive(sqs):
    sqs.send()
    sqs.change(sqs.one(), 300)
    sqs.clock.now += 300
    sqs.one()
    sqs.clock.now += 30
    assert sqs.one()


def test_a_change_to_zero_gives_the_message_back_at_once(sqs):
    sqs.send()
    sqs.change(sqs.one(), 0)
    assert sqs.counts() == (1, 0, 0)


def test_an_earlier_timer_cannot_end_a_lease_that_was_extended(sqs):
    sqs.send()
    message = sqs.one(VisibilityTimeout=10)
    sqs.change(message, 100)
    sqs.clock.now += 50
    assert sqs.receive() == []


def test_twelve_hours_in_all_are_the_most_and_more_is_an_error_not_clipped(sqs):
    sqs.send()
    message = sqs.one(VisibilityTimeout=43_200)
    sqs.clock.now += 3_600
    with pytest.raises(SQSError, match="beyond the limit") as caught:
        sqs.change(message, 43_200 - 3_599)
    assert caught.value.kind.code == "InvalidParameterValue"
    sqs.change(message, 43_200 - 3_600)
    sqs.clock.now += 43_200 - 3_601
    assert sqs.counts() == (0, 1, 0)


def test_a_new_receive_starts_the_twelve_hours_anew(sqs):
    sqs.send()
    sqs.one(VisibilityTimeout=43_200)
    sqs.clock.now += 43_200
    sqs.change(sqs.one(), 43_200)
    assert sqs.counts() == (0, 1, 0)


def test_each_receive_gives_a_new_receipt(sqs):
    sqs.send()
    first = sqs.one(VisibilityTimeout=0)
    assert first["ReceiptHandle"] != sqs.one()["ReceiptHandle"]


def test_deleting_with_an_old_receipt_succeeds_and_deletes_nothing(sqs):
    sqs.send()
    old = sqs.one(VisibilityTimeout=0)
    new = sqs.one()
    assert sqs.delete(old) == {}
    assert sqs.counts() == (0, 1, 0)
    sqs.delete(new)
    assert sqs.counts() == (0, 0, 0)


def test_the_latest_receipt_deletes_even_after_its_lease_ended(sqs):
    sqs.send()
    message = sqs.one(VisibilityTimeout=1)
    sqs.clock.now += 2
    assert sqs.counts() == (1, 0, 0)
    sqs.delete(message)
    assert sqs.counts() == (0, 0, 0)
    assert sqs.receive() == []


def test_deleting_twice_succeeds(sqs):
    sqs.send()
    message = sqs.one()
    assert sqs.delete(message) == sqs.delete(message) == {}


def test_changing_a_message_whose_lease_ended_says_not_in_flight(sqs):
    sqs.send()
    message = sqs.one(VisibilityTimeout=1)
    sqs.clock.now += 1
    handle = message["ReceiptHandle"]
    params = {"QueueUrl": sqs.url, "ReceiptHandle": handle, "VisibilityTimeout": 5}
    assert sqs.code("ChangeMessageVisibility", **params) == "MessageNotInflight"


def test_an_old_receipt_cannot_change_the_lease_of_somebody_else(sqs):
    sqs.send()
    old = sqs.one(VisibilityTimeout=0)
    sqs.one()
    params = {"QueueUrl": sqs.url, "ReceiptHandle": old["ReceiptHandle"], "VisibilityTimeout": 0}
    assert sqs.code("ChangeMessageVisibility", **params) == "InvalidParameterValue"
    assert sqs.counts() == (0, 1, 0)


def test_changing_a_deleted_message_is_refused(sqs):
    sqs.send()
    message = sqs.one()
    sqs.delete(message)
    handle = message["ReceiptHandle"]
    params = {"QueueUrl": sqs.url, "ReceiptHandle": handle, "VisibilityTimeout": 5}
    assert sqs.code("ChangeMessageVisibility", **params) == "InvalidParameterValue"


@pytest.mark.parametrize("handle", ["garbage", "AQEB", "AQEB!!!!", "AQEBAAAA", "ä"])
@pytest.mark.parametrize("action", ["DeleteMessage", "ChangeMessageVisibility"])
def test_a_garbage_receipt_is_invalid(sqs, action, handle):
    params = {"QueueUrl": sqs.url, "ReceiptHandle": handle, "VisibilityTimeout": 5}
    assert sqs.code(action, **params) == "ReceiptHandleIsInvalid"


def test_a_receipt_that_was_tampered_with_is_invalid(sqs):
    sqs.send()
    raw = bytearray(base64.b64decode(sqs.one()["ReceiptHandle"].removeprefix("AQEB")))
    for position in range(len(raw)):
        forged = raw.copy()
        forged[position] ^= 1
        handle = "AQEB" + base64.b64encode(forged).decode()
        params = {"QueueUrl": sqs.url, "ReceiptHandle": handle}
        assert sqs.code("DeleteMessage", **params) == "ReceiptHandleIsInvalid"


def test_a_receipt_of_another_queue_is_invalid(sqs):
    other = sqs.create("other")
    sqs.send()
    handle = sqs.one()["ReceiptHandle"]
    params = {"QueueUrl": other, "ReceiptHandle": handle}
    assert sqs.code("DeleteMessage", **params) == "ReceiptHandleIsInvalid"


def test_more_messages_in_flight_than_allowed_is_over_limit(sqs):
    for _ in range(3):
        sqs.send()
    sqs.store.get("q").max_in_flight = 2
    assert len(sqs.receive(MaxNumberOfMessages=10)) == 2
    assert sqs.code("ReceiveMessage", QueueUrl=sqs.url) == "OverLimit"


# What a receive shows


def test_system_attributes_are_counted_and_stamped(sqs):
    sent_at = sqs.clock.time()
    sqs.send()
    sqs.clock.now += 7
    first_at = sqs.clock.time()
    sqs.one(VisibilityTimeout=0)
    sqs.clock.now += 7
    attributes = sqs.one(MessageSystemAttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateReceiveCount"] == "2"
    assert attributes["SentTimestamp"] == str(int(sent_at * 1000))
    assert attributes["ApproximateFirstReceiveTimestamp"] == str(int(first_at * 1000))
    assert "SenderId" in attributes
    assert "MessageGroupId" not in attributes


def test_system_attributes_come_only_when_asked_for_by_either_name(sqs):
    sqs.send(MessageGroupId="tenant")
    assert "Attributes" not in sqs.one(VisibilityTimeout=0)
    new = sqs.one(VisibilityTimeout=0, MessageSystemAttributeNames=["MessageGroupId"])
    old = sqs.one(VisibilityTimeout=0, AttributeNames=["MessageGroupId"])
    assert new["Attributes"] == old["Attributes"] == {"MessageGroupId": "tenant"}


def test_the_trace_header_is_returned_as_a_system_attribute(sqs):
    header = "Root=1-5759e988-bd862e3fe1be46a994272793"
    value = {"DataType": "String", "StringValue": header}
    sent = sqs.send(MessageSystemAttributes={"AWSTraceHeader": value})
    assert "MD5OfMessageSystemAttributes" in sent
    got = sqs.one(MessageSystemAttributeNames=["AWSTraceHeader"])
    assert got["Attributes"] == {"AWSTraceHeader": header}


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([], []),
        (["All"], ["a", "b.x", "b.y"]),
        ([".*"], ["a", "b.x", "b.y"]),
        (["b.*"], ["b.x", "b.y"]),
        (["a", "nobody"], ["a"]),
        (["b"], []),
    ],
)
def test_message_attributes_are_selected_by_name_prefix_or_all(sqs, wanted, names):
    values = {name: {"DataType": "String", "StringValue": "v"} for name in ("a", "b.x", "b.y")}
    sqs.send(MessageAttributes=values)
    message = sqs.one(MessageAttributeNames=wanted)
    assert sorted(message.get("MessageAttributes", {})) == names
    assert ("MD5OfMessageAttributes" in message) == bool(names)


def test_an_empty_queue_answers_without_a_list(sqs):
    assert sqs("ReceiveMessage", QueueUrl=sqs.url) == {}


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("MaxNumberOfMessages", 1, 10), ("VisibilityTimeout", 0, 43_200), ("WaitTimeSeconds", 0, 20)],
)
def test_numbers_of_a_receive_have_ranges(sqs, name, low, high):
    for value in (low, high):
        sqs("ReceiveMessage", QueueUrl=sqs.url, **{name: value})
    for value in (low - 1, high + 1):
        params = {"QueueUrl": sqs.url, name: value}
        assert sqs.code("ReceiveMessage", **params) == "InvalidParameterValue"
    for value in ("1", True, 1.5):
        params = {"QueueUrl": sqs.url, name: value}
        assert sqs.code("ReceiveMessage", **params) == "MalformedInput"


def test_unknown_attribute_names_and_attempt_ids_are_refused_at_receive(sqs):
    unknown = {"QueueUrl": sqs.url, "MessageSystemAttributeNames": ["Nonsense"]}
    assert sqs.code("ReceiveMessage", **unknown) == "InvalidAttributeName"
    attempt = {"QueueUrl": sqs.url, "ReceiveRequestAttemptId": "x"}
    assert sqs.code("ReceiveMessage", **attempt) == "InvalidParameterValue"


# Delays and retention


def test_a_delayed_message_is_invisible_until_its_delay_ends(sqs):
    sqs.send(DelaySeconds=900)
    assert sqs.counts() == (0, 0, 1)
    sqs.clock.now += 899.9
    assert sqs.receive() == []
    sqs.clock.now += 0.2
    assert sqs.one()


def test_the_queue_s_delay_applies_unless_the_message_has_its_own(sqs):
    url = sqs.create("slow", DelaySeconds=60)
    sqs.send("late", url)
    sqs.send("now", url, DelaySeconds=0)
    assert sqs.one(url, VisibilityTimeout=900)["Body"] == "now"
    sqs.clock.now += 60
    assert sqs.one(url)["Body"] == "late"


@pytest.mark.parametrize("delay", [-1, 901])
def test_a_delay_out_of_range_is_refused(sqs, delay):
    params = {"QueueUrl": sqs.url, "MessageBody": "x", "DelaySeconds": delay}
    assert sqs.code("SendMessage", **params) == "InvalidParameterValue"


def test_a_message_older_than_the_retention_is_gone_even_in_flight(sqs):
    url = sqs.create("short", MessageRetentionPeriod=60)
    sqs.send("seen", url)
    sqs.one(url, VisibilityTimeout=1_000)
    sqs.clock.now += 30
    sqs.send("kept", url)
    sqs.clock.now += 30
    assert sqs.counts("short") == (1, 0, 0)
    assert sqs.one(url)["Body"] == "kept"


# Dead letters


def test_a_message_received_too_often_moves_at_the_next_receive(sqs):
    dead = sqs.create("dead")
    url = sqs.create("source", RedrivePolicy=sqs.policy("dead", 2), VisibilityTimeout=0)
    value = {"DataType": "String", "StringValue": "v"}
    sent = sqs.send("poison", url, MessageAttributes={"a": value})
    sqs.one(url)
    sqs.one(url)
    assert sqs.counts("dead") == (0, 0, 0)
    assert sqs.receive(url) == []
    assert sqs.counts("source") == (0, 0, 0)
    message = sqs.one(dead, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"])
    assert message["MessageId"] == sent["MessageId"]
    assert message["MessageAttributes"] == {"a": value}
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == ARN + "source"
    assert message["Attributes"]["ApproximateReceiveCount"] == "3"


def test_a_receive_that_meets_a_dead_letter_returns_the_next_message(sqs):
    sqs.create("dead")
    url = sqs.create("source", RedrivePolicy=sqs.policy("dead", 1), VisibilityTimeout=0)
    sqs.send("poison", url)
    sqs.one(url)
    sqs.send("good", url)
    assert [message["Body"] for message in sqs.receive(url, MaxNumberOfMessages=10)] == ["good"]


def test_an_old_timer_of_the_source_queue_does_not_bring_a_dead_letter_back(sqs):
    dead = sqs.create("dead")
    url = sqs.create("source", RedrivePolicy=sqs.policy("dead", 1))
    sqs.send("poison", url)
    message = sqs.one(url, VisibilityTimeout=50)
    params = {"ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
    sqs("ChangeMessageVisibility", QueueUrl=url, **params)
    assert sqs.receive(url) == []
    sqs.one(dead, VisibilityTimeout=1_000)
    sqs.clock.now += 50
    assert sqs.counts("source") == (0, 0, 0)
    assert sqs.counts("dead") == (0, 1, 0)


def test_a_receipt_of_the_source_queue_does_not_delete_the_dead_letter(sqs):
    sqs.create("dead")
    url = sqs.create("source", RedrivePolicy=sqs.policy("dead", 1), VisibilityTimeout=0)
    sqs.send("poison", url)
    message = sqs.one(url)
    sqs.receive(url)
    assert sqs.delete(message, url) == {}
    assert sqs.counts("dead") == (1, 0, 0)


@pytest.mark.parametrize(
    "policy",
    [
        {"deadLetterTargetArn": ARN + "nobody", "maxReceiveCount": 5},
        {"deadLetterTargetArn": ARN + "q", "maxReceiveCount": 0},
        {"deadLetterTargetArn": ARN + "q", "maxReceiveCount": 1001},
        {"deadLetterTargetArn": ARN + "q"},
        {"deadLetterTargetArn": ARN + "q", "maxReceiveCount": 5, "more": 1},
    ],
)
def test_a_wrong_redrive_policy_is_refused(sqs, policy):
    attributes = {"RedrivePolicy": json.dumps(policy)}
    code = sqs.code("CreateQueue", QueueName="source", Attributes=attributes)
    assert code == "InvalidParameterValue"
    assert sqs.store.names() == ["q"]


def test_a_count_of_receives_may_be_a_string_of_digits(sqs):
    sqs.create("dead")
    policy = {"deadLetterTargetArn": ARN + "dead", "maxReceiveCount": "1"}
    attributes = {"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": "0"}
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes=attributes)
    sqs.send()
    sqs.one()
    assert sqs.receive() == []
    assert sqs.counts("dead") == (1, 0, 0)


@pytest.mark.parametrize(
    "policy",
    [
        {"redrivePermission": "everybody"},
        {"redrivePermission": "byQueue"},
        {"redrivePermission": "byQueue", "sourceQueueArns": []},
        {"redrivePermission": "byQueue", "sourceQueueArns": [ARN + "q"] * 11},
        {"redrivePermission": "allowAll", "sourceQueueArns": [ARN + "q"]},
        {"redrivePermission": "allowAll", "sourceQueueArns": [ARN + "q"] * 11},
    ],
)
def test_a_wrong_policy_of_a_dead_letter_queue_is_refused(sqs, policy):
    attributes = {"RedriveAllowPolicy": json.dumps(policy)}
    code = sqs.code("SetQueueAttributes", QueueUrl=sqs.url, Attributes=attributes)
    assert code == "InvalidAttributeValue"


def test_a_dead_letter_queue_may_deny_sources(sqs):
    sqs.create("dead", RedriveAllowPolicy='{"redrivePermission":"denyAll"}')
    attributes = {"RedrivePolicy": sqs.policy("dead", 5)}
    assert sqs.code("SetQueueAttributes", QueueUrl=sqs.url, Attributes=attributes) == (
        "InvalidParameterValue"
    )
    by_queue = {"redrivePermission": "byQueue", "sourceQueueArns": [ARN + "q"]}
    sqs.create("picky", RedriveAllowPolicy=json.dumps(by_queue))
    sqs(
        "SetQueueAttributes", QueueUrl=sqs.url, Attributes={"RedrivePolicy": sqs.policy("picky", 5)}
    )
    attributes = {"RedrivePolicy": sqs.policy("picky", 5)}
    code = sqs.code("CreateQueue", QueueName="other", Attributes=attributes)
    assert code == "InvalidParameterValue"


# Queues


def test_creating_a_queue_again_with_the_same_attributes_returns_it(sqs):
    first = sqs.create("a", VisibilityTimeout=5)
    assert sqs.create("a", VisibilityTimeout=5) == sqs.create("a") == first


def test_creating_a_queue_again_with_other_attributes_is_refused(sqs):
    sqs.create("a", VisibilityTimeout=5)
    attributes = {"VisibilityTimeout": "6"}
    assert sqs.code("CreateQueue", QueueName="a", Attributes=attributes) == "QueueAlreadyExists"


@pytest.mark.parametrize("name", ["a b", "x" * 81, "ä", "a.b", "a/b", "a\n", "orders.fifo"])
def test_an_illegal_queue_name_is_refused(sqs, name):
    assert sqs.code("CreateQueue", QueueName=name) == "InvalidParameterValue"


def test_a_deleted_queue_s_name_is_free_again_after_60_seconds(sqs):
    sqs.send()
    handle = sqs.one()["ReceiptHandle"]
    sqs("DeleteQueue", QueueUrl=sqs.url)
    assert sqs.code("CreateQueue", QueueName="q") == "QueueDeletedRecently"
    sqs.clock.now += 60
    sqs.create("q")
    assert sqs.counts() == (0, 0, 0)
    params = {"QueueUrl": sqs.url, "ReceiptHandle": handle}
    assert sqs.code("DeleteMessage", **params) == "ReceiptHandleIsInvalid"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("VisibilityTimeout", "43201", "InvalidAttributeValue"),
        ("VisibilityTimeout", "-1", "InvalidAttributeValue"),
        ("VisibilityTimeout", "1.5", "InvalidAttributeValue"),
        ("DelaySeconds", "901", "InvalidAttributeValue"),
        ("MaximumMessageSize", "1023", "InvalidAttributeValue"),
        ("MaximumMessageSize", "1048577", "InvalidAttributeValue"),
        ("MessageRetentionPeriod", "59", "InvalidAttributeValue"),
        ("MessageRetentionPeriod", "1209601", "InvalidAttributeValue"),
        ("ReceiveMessageWaitTimeSeconds", "21", "InvalidAttributeValue"),
        ("SqsManagedSseEnabled", "yes", "InvalidAttributeValue"),
        ("Policy", "{", "InvalidAttributeValue"),
        ("RedriveAllowPolicy", "{}", "InvalidAttributeValue"),
        ("Nonsense", "1", "InvalidAttributeName"),
        ("QueueArn", "x", "InvalidAttributeName"),
        ("DeduplicationScope", "queue", "InvalidAttributeName"),
        ("KmsDataKeyReusePeriodSeconds", "59", "InvalidAttributeValue"),
    ],
)
@pytest.mark.parametrize("action", ["CreateQueue", "SetQueueAttributes"])
def test_a_wrong_queue_attribute_is_refused(sqs, action, name, value, code):
    params = {"QueueUrl": sqs.url, "QueueName": "new", "Attributes": {name: value}}
    assert sqs.code(action, **params) == code


def test_attributes_are_strings_with_aws_s_defaults(sqs):
    found = sqs("GetQueueAttributes", QueueUrl=sqs.url, AttributeNames=["All"])["Attributes"]
    created = str(int(sqs.clock.time()))
    assert found == {
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "CreatedTimestamp": created,
        "DelaySeconds": "0",
        "LastModifiedTimestamp": created,
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "QueueArn": ARN + "q",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "true",
        "VisibilityTimeout": "30",
    }


def test_the_three_depths_are_counted_apart(sqs):
    for delay in (0, 0, 0, 5):
        sqs.send(DelaySeconds=delay)
    sqs.one()
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    found = sqs("GetQueueAttributes", QueueUrl=sqs.url, AttributeNames=names)["Attributes"]
    assert [found[name] for name in names] == ["2", "1", "1"]


def test_attributes_not_asked_for_are_not_returned_and_unknown_ones_are_refused(sqs):
    assert sqs("GetQueueAttributes", QueueUrl=sqs.url) == {}
    params = {"QueueUrl": sqs.url, "AttributeNames": ["Nonsense"]}
    assert sqs.code("GetQueueAttributes", **params) == "InvalidAttributeName"


def test_attributes_set_later_take_effect_and_an_empty_policy_removes_it(sqs):
    sqs.create("dead")
    policy = sqs.policy("dead", 3)
    attributes = {"VisibilityTimeout": "7", "RedrivePolicy": policy}
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes=attributes)
    get = {"QueueUrl": sqs.url, "AttributeNames": ["RedrivePolicy", "VisibilityTimeout"]}
    assert sqs("GetQueueAttributes", **get)["Attributes"] == attributes
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes={"RedrivePolicy": ""})
    assert sqs("GetQueueAttributes", **get)["Attributes"] == {"VisibilityTimeout": "7"}
    sqs.send()
    sqs.one()
    sqs.clock.now += 7
    assert sqs.one()


def shown(sqs, *names):
    got = sqs("GetQueueAttributes", QueueUrl=sqs.url, AttributeNames=list(names))
    return got["Attributes"]


def test_a_kms_key_replaces_the_encryption_by_sqs_and_the_other_way_round(sqs):
    names = ("KmsMasterKeyId", "SqsManagedSseEnabled", "KmsDataKeyReusePeriodSeconds")
    key = {"KmsMasterKeyId": "alias/mine"}
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes=key)
    assert shown(sqs, *names) == {
        "KmsMasterKeyId": "alias/mine",
        "SqsManagedSseEnabled": "false",
        "KmsDataKeyReusePeriodSeconds": "300",
    }
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes={"SqsManagedSseEnabled": "true"})
    assert "KmsMasterKeyId" not in shown(sqs, *names)
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes=key)
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes={"KmsMasterKeyId": ""})
    assert "KmsMasterKeyId" not in shown(sqs, *names)


def test_two_encryptions_at_once_are_refused(sqs):
    both = {"KmsMasterKeyId": "alias/mine", "SqsManagedSseEnabled": "true"}
    for action in ("CreateQueue", "SetQueueAttributes"):
        params = {"QueueUrl": sqs.url, "QueueName": "new", "Attributes": both}
        assert sqs.code(action, **params) == "InvalidAttributeValue"


def test_attributes_are_set_all_or_none(sqs):
    attributes = {"VisibilityTimeout": "7", "DelaySeconds": "901"}
    sqs.code("SetQueueAttributes", QueueUrl=sqs.url, Attributes=attributes)
    assert sqs.store.attributes(sqs.store.get("q"))["VisibilityTimeout"] == "30"


def test_a_queue_s_own_size_limit_is_enforced(sqs):
    url = sqs.create("small", MaximumMessageSize=1_024)
    sqs.send("x" * 1_024, url)
    params = {"QueueUrl": url, "MessageBody": "x" * 1_025}
    assert sqs.code("SendMessage", **params) == "InvalidParameterValue"


def test_a_message_may_hold_one_mebibyte_with_its_attributes_and_no_byte_more(sqs):
    attributes = {"name": {"DataType": "String", "StringValue": "v"}}
    room = 1_048_576 - len("name") - len("String") - len("v")
    sqs.send("x" * room, MessageAttributes=attributes)
    params = {"MessageBody": "x" * (room + 1), "MessageAttributes": attributes}
    assert sqs.code("SendMessage", QueueUrl=sqs.url, **params) == "InvalidParameterValue"
    entries = [{"Id": "a", **params, "MessageBody": "x" * room}]
    assert sqs("SendMessageBatch", QueueUrl=sqs.url, Entries=entries)["Successful"]


def test_a_purge_deletes_messages_in_every_state_and_only_once_in_60_seconds(sqs):
    for delay in (0, 0, 5):
        sqs.send(DelaySeconds=delay)
    sqs.one()
    sqs("PurgeQueue", QueueUrl=sqs.url)
    assert sqs.counts() == (0, 0, 0)
    sqs.clock.now += 59
    assert sqs.code("PurgeQueue", QueueUrl=sqs.url) == "PurgeQueueInProgress"
    assert sqs.receive() == []
    sqs.clock.now += 1
    sqs("PurgeQueue", QueueUrl=sqs.url)


def test_queues_are_listed_by_prefix_in_pages(sqs):
    for name in ("a1", "a2", "a3"):
        sqs.create(name)
    first = sqs("ListQueues", QueueNamePrefix="a", MaxResults=2)
    rest = sqs("ListQueues", QueueNamePrefix="a", MaxResults=2, NextToken=first["NextToken"])
    names = [url.rpartition("/")[2] for url in first["QueueUrls"] + rest["QueueUrls"]]
    assert names == ["a1", "a2", "a3"]
    assert "NextToken" not in rest
    assert sqs("ListQueues", QueueNamePrefix="nobody") == {}
    assert sqs.code("ListQueues", MaxResults=1_001) == "InvalidParameterValue"


def test_every_action_on_a_missing_queue_says_so(sqs):
    url = sqs.url + "-missing"
    actions = [*sqs.actions._on_queue, "ReceiveMessage"]
    assert len(actions) == 11
    for action in actions:
        assert sqs.code(action, QueueUrl=url) == "NonExistentQueue", action
    assert sqs.code("GetQueueUrl", QueueName="missing") == "NonExistentQueue"


def test_a_url_of_no_queue_is_an_invalid_address(sqs):
    for url in ("q", "http://sqs/", "http://sqs/123456789012/q", "http://sqs/000000000000/q/x"):
        assert sqs.code("DeleteQueue", QueueUrl=url) == "InvalidAddress"
    assert sqs.code("DeleteQueue") == "MissingParameter"


# Batches


def entry(number, body="x", **more):
    return {"Id": str(number), "MessageBody": body, **more}


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([], "EmptyBatchRequest"),
        ([entry(n) for n in range(11)], "TooManyEntriesInBatchRequest"),
        ([entry("a"), entry("a")], "BatchEntryIdsNotDistinct"),
        ([entry("a b")], "InvalidBatchEntryId"),
        ([entry("x" * 81)], "InvalidBatchEntryId"),
        ([entry("")], "InvalidBatchEntryId"),
    ],
)
@pytest.mark.parametrize(
    "action", ["SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"]
)
def test_a_malformed_batch_is_refused_as_a_whole(sqs, action, entries, code):
    assert sqs.code(action, QueueUrl=sqs.url, Entries=entries) == code
    assert sqs.counts() == (0, 0, 0)


def test_a_batch_may_hold_one_mebibyte_and_no_byte_more(sqs):
    attributes = {"name": {"DataType": "String", "StringValue": "v"}}
    overhead = len("name") + len("String") + 1
    entries = [entry(n, "x" * 104_857, MessageAttributes=attributes) for n in range(10)]
    room = 1_048_576 - 9 * (104_857 + overhead) - overhead
    entries[9]["MessageBody"] = "x" * room
    sqs("SendMessageBatch", QueueUrl=sqs.url, Entries=entries)
    entries[9]["MessageBody"] += "x"
    code = sqs.code("SendMessageBatch", QueueUrl=sqs.url, Entries=entries)
    assert code == "BatchRequestTooLong"
    assert sqs.counts() == (10, 0, 0)


def test_entries_that_break_a_rule_fail_alone(sqs):
    url = sqs.create("small", MaximumMessageSize=1_024)
    entries = [
        entry("good"),
        entry("character", "\x00"),
        entry("surrogate", "\ud800"),
        entry("size", "x" * 1_025),
        entry("delay", DelaySeconds=901),
        entry("also-good", "y"),
    ]
    result = sqs("SendMessageBatch", QueueUrl=url, Entries=entries)
    assert [item["Id"] for item in result["Successful"]] == ["good", "also-good"]
    assert {item["Id"]: item["Code"] for item in result["Failed"]} == {
        "character": "InvalidMessageContents",
        "surrogate": "InvalidMessageContents",
        "size": "InvalidParameterValue",
        "delay": "InvalidParameterValue",
    }
    assert all(item["SenderFault"] for item in result["Failed"])
    assert sqs.counts("small") == (2, 0, 0)


def test_deletes_and_changes_fail_entry_by_entry(sqs):
    for _ in range(2):
        sqs.send()
    one, two = sqs.receive(MaxNumberOfMessages=10)
    changes = [
        {"Id": "a", "ReceiptHandle": one["ReceiptHandle"], "VisibilityTimeout": 0},
        {"Id": "b", "ReceiptHandle": "garbage", "VisibilityTimeout": 0},
        {"Id": "c", "ReceiptHandle": two["ReceiptHandle"]},
    ]
    changed = sqs("ChangeMessageVisibilityBatch", QueueUrl=sqs.url, Entries=changes)
    assert changed["Successful"] == [{"Id": "a"}]
    assert [(item["Id"], item["Code"]) for item in changed["Failed"]] == [
        ("b", "ReceiptHandleIsInvalid"),
        ("c", "MissingParameter"),
    ]
    deletes = [{"Id": "a", "ReceiptHandle": "x"}, {"Id": "b", **two}]
    deleted = sqs("DeleteMessageBatch", QueueUrl=sqs.url, Entries=deletes)
    assert [item["Id"] for item in deleted["Successful"]] == ["b"]
    assert [item["Code"] for item in deleted["Failed"]] == ["ReceiptHandleIsInvalid"]


def test_a_message_that_is_not_in_flight_fails_its_entry_with_the_prefixed_code(sqs):
    sqs.send()
    handle = sqs.one(VisibilityTimeout=0)["ReceiptHandle"]
    entries = [{"Id": "a", "ReceiptHandle": handle, "VisibilityTimeout": 5}]
    result = sqs("ChangeMessageVisibilityBatch", QueueUrl=sqs.url, Entries=entries)
    assert result["Failed"][0]["Code"] == "AWS.SimpleQueueService.MessageNotInflight"


# Faults


def test_a_failed_entry_is_not_carried_out_and_its_neighbours_are(sqs):
    fault = EntryFault("SendMessageBatch", lambda e: e["Id"] == "1", "InternalError", False)
    sqs.faults.add(fault)
    entries = [entry(n) for n in range(3)]
    result = sqs("SendMessageBatch", QueueUrl=sqs.url, Entries=entries)
    assert [item["Id"] for item in result["Successful"]] == ["0", "2"]
    (failed,) = result["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("1", "InternalError", False)
    assert sqs.counts() == (2, 0, 0)
    assert fault.hits == 1


@pytest.mark.parametrize(("applied", "stored"), [(False, 1), (True, 2)])
def test_a_dropped_entry_is_in_neither_list(sqs, applied, stored):
    fault = EntryFault("SendMessageBatch", lambda e: e["Id"] == "1", None, applied=applied)
    sqs.faults.add(fault)
    result = sqs("SendMessageBatch", QueueUrl=sqs.url, Entries=[entry(0), entry(1)])
    assert [item["Id"] for item in result["Successful"]] == ["0"]
    assert result["Failed"] == []
    assert sqs.counts() == (stored, 0, 0)


def test_a_fraction_hits_the_same_entries_for_the_same_seed():
    chosen = []
    for _ in range(2):
        choose = chooser(0.3, seed=7)
        chosen.append([choose({}) for _ in range(1_000)])
    assert chosen[0] == chosen[1]
    assert 200 < sum(chosen[0]) < 400
    with pytest.raises(ValueError, match="between 0 and 1"):
        chooser(1.5, seed=0)


# Depth


def test_a_receive_costs_the_same_however_deep_the_queue_is(sqs, monkeypatch):
    for _ in range(10_000):
        sqs.send()
    line = sqs.store.get("q")._line
    drawn = []
    draw = line.draw
    monkeypatch.setattr(line, "draw", lambda: (drawn.append(one) or one for one in draw()))
    for message in sqs.receive(MaxNumberOfMessages=10):
        sqs.delete(message)
    assert len(drawn) == 10


def test_messages_deleted_while_visible_are_skipped(sqs):
    for body in "abc":
        sqs.send(body)
    leased = sqs.receive(MaxNumberOfMessages=2, VisibilityTimeout=0)
    for message in leased:
        sqs.delete(message)
    assert sqs.one()["Body"] == "c"

"""FIFO queues: order, groups, deduplication, attempts, and what differs from standard queues."""

import hashlib
import json

import pytest
from sqs_account import ARN, Account

from mqtransport.testing.sqs_double import SQSError
from mqtransport.testing.sqs_double.messages import State, record_of


class Fifo(Account):
    """An account whose queue is a FIFO one, with deduplication ids counted up."""

    def __init__(self):
        super().__init__()
        self.sent = 0
        self.url = self.create_fifo("q.fifo")

    def create_fifo(self, name, **attributes):
        return self.create(name, FifoQueue="true", **attributes)

    def put(self, body="x", group="g", url=None, **params):
        self.sent += 1
        given = {"MessageGroupId": group, "MessageDeduplicationId": f"id-{self.sent}", **params}
        given = {name: value for name, value in given.items() if value is not None}
        return self.send(body, url, **given)

    def bodies(self, limit=10, **params):
        return [message["Body"] for message in self.receive(MaxNumberOfMessages=limit, **params)]

    def take(self, limit=10, **params):
        return self.receive(MaxNumberOfMessages=limit, **params)

    def counts(self, name="q.fifo"):
        return super().counts(name)

    def refused(self, action, **params):
        """Return code and text of the error that the action raises."""
        with pytest.raises(SQSError) as caught:
            self(action, QueueUrl=self.url, **params)
        return caught.value.kind.code, caught.value.message


@pytest.fixture
def sqs():
    return Fifo()


# Creation and attributes


def test_a_fifo_queue_needs_the_attribute_and_the_suffix(sqs):
    create = {"action": "CreateQueue"}
    assert sqs.code(**create, QueueName="a.fifo") == "InvalidParameterValue"
    fifo = {"Attributes": {"FifoQueue": "true"}}
    assert sqs.code(**create, QueueName="a", **fifo) == "InvalidParameterValue"
    assert sqs("CreateQueue", QueueName="a.fifo", **fifo)


@pytest.mark.parametrize("name", [".fifo", "a b.fifo", "a.b.fifo", "a.FIFO", "x" * 76 + ".fifo"])
def test_an_illegal_fifo_name_is_refused(sqs, name):
    fifo = {"FifoQueue": "true"}
    assert sqs.code("CreateQueue", QueueName=name, Attributes=fifo) == "InvalidParameterValue"


def test_a_fifo_name_may_have_80_characters_with_its_suffix(sqs):
    assert sqs.create_fifo("x" * 75 + ".fifo")


def test_fifo_queue_false_makes_a_standard_queue(sqs):
    url = sqs.create("plain", FifoQueue="false")
    got = sqs("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert not {"FifoQueue", "DeduplicationScope", "ContentBasedDeduplication"} & set(got)


def test_a_fifo_queue_shows_its_attributes_with_defaults(sqs):
    got = sqs("GetQueueAttributes", QueueUrl=sqs.url, AttributeNames=["All"])["Attributes"]
    assert got["FifoQueue"] == "true"
    assert got["ContentBasedDeduplication"] == "false"
    assert got["DeduplicationScope"] == "queue"
    assert got["FifoThroughputLimit"] == "perQueue"


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"ContentBasedDeduplication": "yes"}, "InvalidAttributeValue"),
        ({"DeduplicationScope": "everywhere"}, "InvalidAttributeValue"),
        ({"FifoThroughputLimit": "none"}, "InvalidAttributeValue"),
        ({"FifoThroughputLimit": "perMessageGroupId"}, "InvalidAttributeValue"),
    ],
)
def test_a_wrong_fifo_attribute_is_refused_at_creation_and_later(sqs, attributes, code):
    fifo = {"FifoQueue": "true", **attributes}
    assert sqs.code("CreateQueue", QueueName="new.fifo", Attributes=fifo) == code
    assert sqs.code("SetQueueAttributes", QueueUrl=sqs.url, Attributes=attributes) == code


def test_high_throughput_needs_deduplication_by_group_and_keeps_needing_it(sqs):
    high = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes=high)
    alone = {"DeduplicationScope": "queue"}
    code = sqs.code("SetQueueAttributes", QueueUrl=sqs.url, Attributes=alone)
    assert code == "InvalidAttributeValue"


def test_the_type_of_a_queue_cannot_be_changed(sqs):
    for value in ("true", "false"):
        change = {"QueueUrl": sqs.url, "Attributes": {"FifoQueue": value}}
        assert sqs.code("SetQueueAttributes", **change) == "InvalidAttributeName"


# Sending


def test_a_message_without_a_group_is_refused(sqs):
    params = {"MessageBody": "x", "MessageDeduplicationId": "1"}
    assert sqs.refused("SendMessage", **params)[0] == "MissingParameter"


def test_a_message_without_a_deduplication_id_is_refused(sqs):
    code, text = sqs.refused("SendMessage", MessageBody="x", MessageGroupId="g")
    assert code == "InvalidParameterValue"
    assert "ContentBasedDeduplication" in text


@pytest.mark.parametrize("name", ["MessageGroupId", "MessageDeduplicationId"])
@pytest.mark.parametrize("value", ["", "a b", "ä", "x" * 129, "a\n"])
def test_an_illegal_group_or_deduplication_id_is_refused(sqs, name, value):
    ids = {"MessageGroupId": "g", "MessageDeduplicationId": "1", name: value}
    code, _ = sqs.refused("SendMessage", MessageBody="x", **ids)
    assert code == "InvalidParameterValue"


@pytest.mark.parametrize("delay", [0, 5])
def test_a_delay_of_one_message_is_refused(sqs, delay):
    ids = {"MessageGroupId": "g", "MessageDeduplicationId": "1"}
    code, text = sqs.refused("SendMessage", MessageBody="x", DelaySeconds=delay, **ids)
    assert code == "InvalidParameterValue"
    assert "DelaySeconds" in text


def test_entries_without_group_or_id_or_with_a_delay_fail_alone(sqs):
    ids = {"MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "1"}
    entries = [
        {"Id": "group", **ids, "MessageGroupId": None},
        {"Id": "dedup", **ids, "MessageDeduplicationId": None},
        {"Id": "delay", **ids, "DelaySeconds": 1},
        {"Id": "good", **ids},
    ]
    result = sqs("SendMessageBatch", QueueUrl=sqs.url, Entries=entries)
    assert [item["Id"] for item in result["Failed"]] == ["group", "dedup", "delay"]
    (good,) = result["Successful"]
    assert good["SequenceNumber"].isdigit()
    assert sqs.counts() == (1, 0, 0)


def test_sequence_numbers_increase_and_come_with_the_message(sqs):
    sent = [sqs.put(str(n))["SequenceNumber"] for n in range(3)]
    assert sent == sorted(sent, key=int)
    assert len(set(sent)) == 3
    got = sqs.take(MessageSystemAttributeNames=["All"])
    assert [message["Attributes"]["SequenceNumber"] for message in got] == sent
    assert [message["Attributes"]["MessageDeduplicationId"] for message in got] == [
        "id-1",
        "id-2",
        "id-3",
    ]
    assert {message["Attributes"]["MessageGroupId"] for message in got} == {"g"}


def test_a_standard_queue_has_no_sequence_numbers(sqs):
    url = sqs.create("plain")
    assert "SequenceNumber" not in sqs.send(url=url)
    got = sqs.one(url, MessageSystemAttributeNames=["All"])
    assert "SequenceNumber" not in got["Attributes"]
    (message,) = sqs.store.get("plain").messages()
    assert record_of(message).sequence_number is None


def test_a_record_shows_group_deduplication_id_and_sequence_number(sqs):
    sent = sqs.put(group="shop-1", MessageDeduplicationId="order-7")
    record = record_of(sqs.store.get("q.fifo").messages()[0])
    assert (record.group, record.dedup_id) == ("shop-1", "order-7")
    assert str(record.sequence_number) == sent["SequenceNumber"]


# Deduplication


def test_a_duplicate_is_answered_as_the_first_and_not_stored(sqs):
    first = sqs.put("first", MessageDeduplicationId="same")
    again = sqs.put("other", group="h", MessageDeduplicationId="same")
    assert again["MessageId"] == first["MessageId"]
    assert again["SequenceNumber"] == first["SequenceNumber"]
    assert again["MD5OfMessageBody"] == hashlib.md5(b"other").hexdigest()
    assert sqs.bodies() == ["first"]


def test_a_duplicate_is_known_for_five_minutes_from_the_first(sqs):
    first = sqs.put(MessageDeduplicationId="same")
    sqs.clock.now += 299
    assert sqs.put(MessageDeduplicationId="same")["MessageId"] == first["MessageId"]
    sqs.clock.now += 1
    later = sqs.put(MessageDeduplicationId="same")
    assert later["MessageId"] != first["MessageId"]
    assert int(later["SequenceNumber"]) > int(first["SequenceNumber"])
    assert sqs.counts() == (2, 0, 0)


def test_a_duplicate_is_known_after_the_first_was_deleted(sqs):
    sqs.put(MessageDeduplicationId="same")
    sqs.delete(sqs.one())
    sqs.put(MessageDeduplicationId="same")
    assert sqs.counts() == (0, 0, 0)


def test_content_based_deduplication_hashes_the_body_and_not_the_attributes(sqs):
    url = sqs.create_fifo("c.fifo", ContentBasedDeduplication="true")
    value = {"DataType": "String", "StringValue": "v"}
    first = sqs.send("same", url, MessageGroupId="g")
    again = sqs.send("same", url, MessageGroupId="g", MessageAttributes={"a": value})
    assert again["MessageId"] == first["MessageId"]
    got = sqs.one(url, MessageSystemAttributeNames=["MessageDeduplicationId"])
    digest = hashlib.sha256(b"same").hexdigest()
    assert got["Attributes"] == {"MessageDeduplicationId": digest}
    by_hand = sqs.send("other", url, MessageGroupId="g", MessageDeduplicationId=digest)
    assert by_hand["MessageId"] == first["MessageId"]


def test_an_explicit_id_overrides_the_one_made_from_the_body(sqs):
    url = sqs.create_fifo("c.fifo", ContentBasedDeduplication="true")
    for number in range(2):
        sqs.send("same", url, MessageGroupId="g", MessageDeduplicationId=str(number))
    assert sqs.counts("c.fifo") == (2, 0, 0)


def test_deduplication_by_group_tells_equal_ids_of_two_groups_apart(sqs):
    url = sqs.create_fifo("c.fifo", DeduplicationScope="messageGroup")
    for group in ("g", "h", "g"):
        sqs.put(group=group, url=url, MessageDeduplicationId="same")
    assert sqs.counts("c.fifo") == (2, 0, 0)


def test_ids_are_remembered_by_queue(sqs):
    url = sqs.create_fifo("other.fifo")
    sqs.put(MessageDeduplicationId="same")
    sqs.put(url=url, MessageDeduplicationId="same")
    assert sqs.counts("other.fifo") == (1, 0, 0)


def test_what_is_remembered_of_ids_is_forgotten_after_five_minutes(sqs):
    for _ in range(100):
        sqs.put()
    sqs.clock.now += 300
    sqs.put()
    assert len(sqs.store.get("q.fifo")._sent._notes) == 1


# Order and groups


def test_messages_of_a_group_come_in_the_order_of_sending(sqs):
    for number in range(25):
        sqs.put(str(number))
    seen = []
    while taken := sqs.take():
        seen += [message["Body"] for message in taken]
        for message in taken:
            sqs.delete(message)
    assert seen == [str(number) for number in range(25)]


def test_one_receive_takes_all_it_can_of_a_group_and_then_of_the_next(sqs):
    for body, group in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b"), ("a3", "a")):
        sqs.put(body, group)
    assert sqs.bodies(4) == ["a1", "a2", "a3", "b1"]


def test_a_group_with_a_message_in_flight_is_held_back_from_others(sqs):
    for body, group in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        sqs.put(body, group)
    (first,) = sqs.take(1)
    assert first["Body"] == "a1"
    assert sqs.bodies() == ["b1"]
    sqs.put("a3", "a")
    assert sqs.bodies() == []
    sqs.delete(first)
    assert sqs.bodies() == ["a2", "a3"]


def test_a_group_is_free_only_when_all_its_messages_are_settled(sqs):
    for number in range(4):
        sqs.put(str(number))
    first, second = sqs.take(2)
    sqs.delete(second)
    assert sqs.bodies() == []
    sqs.delete(first)
    assert sqs.bodies() == ["2", "3"]


def test_a_released_message_returns_to_its_place_and_not_to_the_end(sqs):
    for number in range(4):
        sqs.put(str(number))
    first, second = sqs.take(2)
    sqs.change(second, 0)
    assert sqs.bodies() == []
    sqs.change(first, 0)
    assert sqs.bodies() == ["0", "1", "2", "3"]


def test_a_group_stays_held_back_while_one_of_its_messages_is_hidden_by_a_change(sqs):
    for number in range(3):
        sqs.put(str(number))
    (first,) = sqs.take(1)
    sqs.change(first, 600)
    sqs.clock.now += 599
    assert sqs.bodies() == []
    sqs.clock.now += 1
    assert sqs.bodies() == ["0", "1", "2"]


def test_messages_whose_lease_ended_return_to_their_places(sqs):
    for number in range(4):
        sqs.put(str(number))
    sqs.take(3, VisibilityTimeout=5)
    sqs.clock.now += 5
    assert sqs.counts() == (4, 0, 0)
    assert sqs.bodies() == ["0", "1", "2", "3"]


def test_a_group_whose_head_outlives_its_retention_goes_on_with_the_next(sqs):
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes={"MessageRetentionPeriod": "60"})
    sqs.put("old")
    sqs.take(VisibilityTimeout=1_000)
    sqs.clock.now += 30
    sqs.put("new")
    sqs.clock.now += 29
    assert sqs.bodies() == []
    sqs.clock.now += 1
    assert sqs.bodies() == ["new"]


def test_a_purge_frees_every_group(sqs):
    sqs.put("old")
    sqs.put("older")
    sqs.take(1)
    sqs("PurgeQueue", QueueUrl=sqs.url)
    sqs.put("new")
    assert sqs.bodies() == ["new"]


def test_the_queue_s_delay_keeps_the_order_and_its_change_is_retroactive(sqs):
    url = sqs.create_fifo("slow.fifo", DelaySeconds=60)
    for number in range(3):
        sqs.put(str(number), url=url)
    assert sqs.counts("slow.fifo") == (0, 0, 3)
    sqs.clock.now += 20
    sqs("SetQueueAttributes", QueueUrl=url, Attributes={"DelaySeconds": "30"})
    sqs.clock.now += 9
    assert sqs.receive(url) == []
    sqs.clock.now += 1
    assert [one["Body"] for one in sqs.receive(url, MaxNumberOfMessages=10)] == ["0", "1", "2"]


def test_a_changed_delay_of_a_standard_queue_is_not_retroactive(sqs):
    url = sqs.create("slow", DelaySeconds=60)
    sqs.send(url=url)
    sqs("SetQueueAttributes", QueueUrl=url, Attributes={"DelaySeconds": "0"})
    assert sqs.counts("slow") == (0, 0, 1)


def test_a_full_fifo_queue_answers_without_messages_and_without_an_error(sqs):
    for group in "abc":
        sqs.put(group, group)
    sqs.store.get("q.fifo").max_in_flight = 2
    assert sqs.bodies() == ["a", "b"]
    assert sqs.bodies() == []


# Settling


def test_a_receipt_deletes_while_its_lease_lasts_and_deleting_again_succeeds(sqs):
    sqs.put()
    message = sqs.one()
    sqs.clock.now += 29
    assert sqs.delete(message) == sqs.delete(message) == {}
    assert sqs.counts() == (0, 0, 0)


def expired(sqs, message):
    handle = message["ReceiptHandle"]
    code, text = sqs.refused("DeleteMessage", ReceiptHandle=handle)
    assert text == (
        f"Value {handle} for parameter ReceiptHandle is invalid. "
        "Reason: The receipt handle has expired."
    )
    return code == "InvalidParameterValue"


def test_a_receipt_whose_lease_ended_deletes_nothing_and_says_so(sqs):
    sqs.put()
    message = sqs.one()
    sqs.clock.now += 30
    assert expired(sqs, message)
    assert sqs.counts() == (1, 0, 0)


def test_a_receipt_whose_message_was_received_again_has_expired(sqs):
    sqs.put()
    old = sqs.one(VisibilityTimeout=1)
    sqs.clock.now += 1
    new = sqs.one()
    assert expired(sqs, old)
    sqs.delete(new)
    assert expired(sqs, old)
    assert sqs.delete(new) == {}


def test_deleting_again_succeeds_also_long_after(sqs):
    sqs.put()
    message = sqs.one()
    sqs.delete(message)
    sqs.clock.now += 3_600
    assert sqs.delete(message) == {}


def test_a_receipt_given_back_has_expired(sqs):
    sqs.put()
    message = sqs.one()
    sqs.change(message, 0)
    assert expired(sqs, message)


def test_an_expired_receipt_fails_its_entry_of_a_batch(sqs):
    for number in range(2):
        sqs.put(str(number), group=str(number))
    late = sqs.one(VisibilityTimeout=1)
    sqs.clock.now += 1
    sqs.one()
    (good,) = sqs.take()
    entries = [
        {"Id": name, "ReceiptHandle": message["ReceiptHandle"]}
        for name, message in (("late", late), ("good", good))
    ]
    result = sqs("DeleteMessageBatch", QueueUrl=sqs.url, Entries=entries)
    assert [item["Id"] for item in result["Successful"]] == ["good"]
    assert [item["Code"] for item in result["Failed"]] == ["InvalidParameterValue"]


# Attempts


def test_the_same_attempt_gets_the_same_messages_and_receipts(sqs):
    for number in range(3):
        sqs.put(str(number))
    first = sqs.take(2, ReceiveRequestAttemptId="try")
    assert sqs.take(2, ReceiveRequestAttemptId="try") == first
    assert sqs.take(2, ReceiveRequestAttemptId="other") == []
    assert sqs.take(2) == []
    assert [record_of(one).receive_count for one in sqs.store.get("q.fifo").messages()] == [1, 1, 0]


def test_a_repeated_attempt_starts_the_visibility_timeout_anew(sqs):
    sqs.put()
    (message,) = sqs.take(ReceiveRequestAttemptId="try")
    sqs.clock.now += 20
    sqs.take(ReceiveRequestAttemptId="try")
    sqs.clock.now += 20
    assert sqs.take(ReceiveRequestAttemptId="try") == [message]
    sqs.delete(message)
    assert sqs.counts() == (0, 0, 0)


def test_an_attempt_cannot_be_repeated_after_five_minutes(sqs):
    sqs.put()
    sqs.take(ReceiveRequestAttemptId="try", VisibilityTimeout=1_000)
    sqs.clock.now += 299
    assert len(sqs.take(ReceiveRequestAttemptId="try", VisibilityTimeout=1_000)) == 1
    sqs.clock.now += 1
    assert sqs.take(ReceiveRequestAttemptId="try") == []


def deletes(sqs, message):
    sqs.delete(message)


def extends(sqs, message):
    sqs.change(message, 60)


def releases(sqs, message):
    sqs.change(message, 0)


@pytest.mark.parametrize("modifies", [deletes, extends, releases])
def test_an_attempt_with_a_modified_message_is_not_repeated(sqs, modifies):
    for number in range(3):
        sqs.put(str(number))
    _, second = sqs.take(2, ReceiveRequestAttemptId="try")
    modifies(sqs, second)
    assert sqs.take(2, ReceiveRequestAttemptId="try") == []


def test_an_attempt_whose_leases_ended_is_a_new_receive(sqs):
    sqs.put()
    (old,) = sqs.take(ReceiveRequestAttemptId="try")
    sqs.clock.now += 30
    (new,) = sqs.take(ReceiveRequestAttemptId="try")
    assert new["ReceiptHandle"] != old["ReceiptHandle"]
    assert sqs.take(ReceiveRequestAttemptId="try") == [new]


@pytest.mark.parametrize("value", ["", "a b", "x" * 129])
def test_an_illegal_attempt_id_is_refused(sqs, value):
    assert sqs.refused("ReceiveMessage", ReceiveRequestAttemptId=value)[0] == (
        "InvalidParameterValue"
    )


# Dead letters


@pytest.mark.parametrize(("source", "target"), [("s.fifo", "plain"), ("s", "dead.fifo")])
def test_source_and_dead_letter_queue_must_be_of_one_type(sqs, source, target):
    fifo = {"FifoQueue": "true"} if target.endswith(".fifo") else {}
    sqs.create(target, **fifo)
    attributes = {"RedrivePolicy": sqs.policy(target, 1)}
    if source.endswith(".fifo"):
        attributes["FifoQueue"] = "true"
    code = sqs.code("CreateQueue", QueueName=source, Attributes=attributes)
    assert code == "InvalidParameterValue"


def test_a_dead_lettered_head_frees_its_group_and_keeps_it_where_it_goes(sqs):
    dead = sqs.create_fifo("dead.fifo")
    policy = {"RedrivePolicy": sqs.policy("dead.fifo", 1)}
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes=policy)
    sent = [sqs.put(body, "shop") for body in ("poison", "toxin", "good")]
    for message in sqs.take(2):
        sqs.change(message, 0)
    assert sqs.bodies() == ["good"]
    sqs.clock.now += 1
    got = sqs.take(url=dead, MessageSystemAttributeNames=["All"])
    assert [message["MessageId"] for message in got] == [one["MessageId"] for one in sent[:2]]
    assert [message["Body"] for message in got] == ["poison", "toxin"]
    for message in got:
        assert message["Attributes"]["MessageGroupId"] == "shop"
        assert message["Attributes"]["DeadLetterQueueSourceArn"] == ARN + "q.fifo"


def test_what_a_receive_took_after_a_dead_letter_holds_the_group_back(sqs):
    sqs.create_fifo("dead.fifo")
    policy = {"RedrivePolicy": sqs.policy("dead.fifo", 2)}
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes=policy)
    sqs.put("poison")
    for _ in range(2):
        sqs.change(sqs.one(), 0)
    sqs.put("first")
    sqs.put("second")
    first, _ = sqs.take(2)
    sqs.change(first, 0)
    assert sqs.bodies() == []


def test_a_dead_letter_of_a_fifo_queue_begins_its_retention_anew(sqs):
    sqs.create_fifo("dead.fifo", MessageRetentionPeriod=60)
    policy = {"RedrivePolicy": sqs.policy("dead.fifo", 1), "VisibilityTimeout": "0"}
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes=policy)
    sqs.put()
    sqs.one()
    sqs.clock.now += 100
    assert sqs.take() == []
    sqs.clock.now += 59
    assert sqs.counts("dead.fifo") == (1, 0, 0)
    sqs.clock.now += 1
    assert sqs.counts("dead.fifo") == (0, 0, 0)


def test_a_receipt_of_a_message_that_died_has_expired(sqs):
    sqs.create_fifo("dead.fifo")
    policy = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": ARN + "dead.fifo",
                                           "maxReceiveCount": 1})}  # fmt: skip
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes=policy)
    sqs.put()
    message = sqs.one()
    sqs.clock.now += 30
    assert sqs.take() == []
    assert expired(sqs, message)
    assert sqs.counts("dead.fifo") == (1, 0, 0)


# Depth


def test_a_deep_fifo_queue_keeps_nothing_of_what_is_gone(sqs):
    for number in range(2_000):
        sqs.put(str(number), group=str(number % 50))
    queue = sqs.store.get("q.fifo")
    while taken := sqs.take():
        for message in taken:
            sqs.delete(message)
    assert queue._line._groups == {}
    assert queue._messages == {}
    assert queue.counts() == (0, 0, 0)


def test_groups_that_wait_cost_a_receive_nothing(sqs):
    for number in range(5_000):
        sqs.put(str(number), group=str(number % 2_500))
    held = [sqs.one() for _ in range(2_499)]
    queue = sqs.store.get("q.fifo")
    assert len(queue._line._ready) == 1
    assert sqs.bodies() == ["2499", "4999"]
    assert {one.state for one in queue.messages()} == {State.IN_FLIGHT, State.VISIBLE}
    assert len(held) == 2_499

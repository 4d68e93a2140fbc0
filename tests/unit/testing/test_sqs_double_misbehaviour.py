"""What AWS may do at any time: duplicates, other orders, poor short polls, by seed."""

import random

import pytest
from sqs_account import Account

from mqtransport.testing.sqs_double import SQSDouble, SQSError
from mqtransport.testing.sqs_double.faults import Faults


@pytest.fixture
def sqs():
    return Account()


def misbehave(sqs, **kinds):
    sqs.store.misbehaviour.start(**{"seed": 1, **kinds})


def fill(sqs, number, url=None):
    for body in range(number):
        sqs.send(str(body), url)


def bodies(sqs, limit=10, **params):
    return [message["Body"] for message in sqs.receive(MaxNumberOfMessages=limit, **params)]


def run(seed):
    """Send, receive and delete at random, but always in the same way; return what was seen."""
    sqs, plan, seen = Account(), random.Random(0), []
    misbehave(sqs, seed=seed, duplicates=0.3, reorder=True, short_polls=0.3)
    fill(sqs, 50)
    for _ in range(100):
        sqs.clock.now += 5
        for message in sqs.receive(MaxNumberOfMessages=10):
            seen.append(message["Body"])
            if plan.random() < 0.5:
                sqs.delete(message)
        seen.append(sqs.counts())
    return seen


def test_the_same_seed_and_the_same_calls_give_the_same_behaviour():
    assert run(1) == run(1)
    assert run(1) != run(2)


def test_one_kind_of_misbehaviour_does_not_change_what_another_does(sqs):
    kinds = []
    for more in ({}, {"duplicates": 0.5, "reorder": True}):
        misbehave(sqs, short_polls=0.5, **more)
        for _ in range(50):
            sqs.store.misbehaviour.delivers_again()
            sqs.store.misbehaviour.position(9)
        kinds.append([sqs.store.misbehaviour.limit(10) for _ in range(50)])
    assert kinds[0] == kinds[1]


# Duplicates


def test_a_duplicate_reaches_another_receive_while_the_message_is_in_flight(sqs):
    misbehave(sqs, duplicates=1.0)
    sqs.send()
    names = {"MessageSystemAttributeNames": ["ApproximateReceiveCount"]}
    first, again = sqs.one(**names), sqs.one(**names)
    assert again["MessageId"] == first["MessageId"]
    assert again["ReceiptHandle"] != first["ReceiptHandle"]
    assert again["Attributes"] == {"ApproximateReceiveCount": "2"}
    assert sqs.counts() == (0, 1, 0)
    assert sqs.receive() == []


def test_a_duplicate_never_comes_in_the_same_receive(sqs):
    misbehave(sqs, duplicates=1.0)
    fill(sqs, 3)
    assert bodies(sqs) == ["0", "1", "2"]
    assert bodies(sqs) == ["0", "1", "2"]
    assert bodies(sqs) == []


def test_the_receipt_of_the_first_delivery_is_useless_after_a_duplicate(sqs):
    misbehave(sqs, duplicates=1.0)
    sqs.send()
    first, again = sqs.one(), sqs.one()
    misbehave(sqs)
    assert sqs.delete(first) == {}
    assert sqs.counts() == (0, 1, 0)
    sqs.delete(again)
    assert sqs.counts() == (0, 0, 0)


def test_a_duplicate_survives_that_the_lease_is_extended_but_not_a_delete(sqs):
    misbehave(sqs, duplicates=1.0)
    fill(sqs, 2)
    one, two = sqs.receive(MaxNumberOfMessages=2)
    sqs.change(one, 600)
    misbehave(sqs)
    sqs.delete(two)
    assert bodies(sqs) == ["0"]


def test_a_duplicate_that_nobody_took_does_not_add_to_the_next_delivery(sqs):
    misbehave(sqs, duplicates=1.0)
    sqs.send()
    sqs.one(VisibilityTimeout=5)
    sqs.clock.now += 5
    for _ in range(2):
        sqs.one()
    assert sqs.receive() == []


def test_a_message_comes_once_more_after_its_delete_and_then_no_more(sqs):
    misbehave(sqs, duplicates=1.0)
    sqs.send()
    message = sqs.one()
    sqs.delete(message)
    assert sqs.counts() == (1, 0, 0)
    again = sqs.one()
    assert again["MessageId"] == message["MessageId"]
    sqs.delete(again)
    assert sqs.counts() == (0, 0, 0)
    assert sqs.receive() == []


def test_an_exhausted_message_is_not_repeated(sqs):
    sqs.create("dead")
    attributes = {"RedrivePolicy": sqs.policy("dead", 1)}
    sqs("SetQueueAttributes", QueueUrl=sqs.url, Attributes=attributes)
    misbehave(sqs, duplicates=1.0)
    sqs.send()
    message = sqs.one()
    assert sqs.receive() == []
    sqs.delete(message)
    assert sqs.counts() == (0, 0, 0)
    assert sqs.counts("dead") == (0, 0, 0)


def test_a_share_of_deliveries_is_repeated(sqs):
    misbehave(sqs, duplicates=0.1)
    fill(sqs, 1_000)
    deliveries = 0
    while got := sqs.receive(MaxNumberOfMessages=10):
        deliveries += len(got)
        for message in got:
            sqs.delete(message)
    assert 1_050 < deliveries < 1_300
    assert sqs.counts() == (0, 0, 0)


# Order and short polls


def test_a_reordered_queue_delivers_everything_in_another_order(sqs):
    misbehave(sqs, reorder=True)
    fill(sqs, 500)
    seen = []
    while got := bodies(sqs):
        seen += got
    assert seen != sorted(seen, key=int)
    assert sorted(seen, key=int) == [str(n) for n in range(500)]
    assert seen[0] != "0"


def test_a_short_poll_may_find_less_than_there_is_and_loses_nothing(sqs):
    misbehave(sqs, short_polls=1.0)
    fill(sqs, 100)
    sizes = [len(sqs.receive(MaxNumberOfMessages=10)) for _ in range(10)]
    assert max(sizes) < 10
    assert 0 in sizes
    assert len(set(sizes)) > 3
    assert sqs.counts() == (100 - sum(sizes), sum(sizes), 0)


def test_a_receive_that_waits_finds_what_there_is(sqs):
    misbehave(sqs, short_polls=1.0)
    fill(sqs, 10)
    assert len(sqs.store.receive(sqs.store.get("q"), 10)) == 10


def test_a_fifo_queue_never_misbehaves(sqs):
    url = sqs.create("q.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    misbehave(sqs, duplicates=1.0, reorder=True, short_polls=1.0)
    for number in range(30):
        sqs.send(str(number), url, MessageGroupId="g")
    seen = []
    while got := sqs.receive(url, MaxNumberOfMessages=10):
        assert sqs.receive(url, MaxNumberOfMessages=10) == []
        seen.append([message["Body"] for message in got])
        for message in got:
            sqs.delete(message, url)
    assert seen == [[str(number + ten) for number in range(10)] for ten in (0, 10, 20)]


# Requests and entries


def outcome(faults):
    try:
        faults.check("SendMessage")
    except SQSError as error:
        return error.kind.code
    return ""


def test_a_share_of_requests_is_throttled_by_seed():
    def refused(seed):
        faults = Faults()
        faults.misbehave(seed, 0.2, 0.0)
        return [outcome(faults) for _ in range(500)]

    assert refused(1) == refused(1) != refused(2)
    assert set(refused(1)) == {"", "RequestThrottled"}
    assert 50 < refused(1).count("RequestThrottled") < 150


def test_a_share_of_entries_of_every_batch_fails_and_is_not_carried_out(sqs):
    sqs.faults.misbehave(1, 0.0, 0.3)
    entries = [{"Id": str(n), "MessageBody": "x"} for n in range(10)]
    failed = 0
    for _ in range(20):
        result = sqs("SendMessageBatch", QueueUrl=sqs.url, Entries=entries)
        assert {item["Code"] for item in result["Failed"]} <= {"InternalError"}
        failed += len(result["Failed"])
    assert 30 < failed < 90
    assert sqs.counts() == (200 - failed, 0, 0)
    handles = [one["ReceiptHandle"] for one in sqs.receive(MaxNumberOfMessages=10)]
    for action in ("ChangeMessageVisibilityBatch", "DeleteMessageBatch"):
        settling = [
            {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 60}
            for n, handle in enumerate(handles)
        ]
        assert sqs(action, QueueUrl=sqs.url, Entries=settling)["Failed"]


@pytest.mark.parametrize("share", ["duplicates", "short_polls", "throttle", "entry_failures"])
def test_a_share_lies_between_0_and_1(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        SQSDouble().misbehave(**{share: 1.5})


def test_the_double_passes_its_misbehaviour_on_and_lifts_it_with_the_faults():
    double = SQSDouble()
    double.create_queue("q")
    double.misbehave(seed=3, duplicates=1.0, reorder=True, short_polls=1.0, throttle=1.0)
    assert double.store.misbehaviour.delivers_again()
    assert double.store.misbehaviour.limit(10) < 10
    assert any(double.store.misbehaviour.position(9) for _ in range(9))
    with pytest.raises(SQSError):
        double._faults.check("SendMessage")
    double.clear_faults()
    assert not double.store.misbehaviour.delivers_again()
    assert double.store.misbehaviour.limit(10) == 10
    assert not any(double.store.misbehaviour.position(9) for _ in range(9))
    double._faults.check("SendMessage")

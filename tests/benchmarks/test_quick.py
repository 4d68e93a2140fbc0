"""What ``scripts/bench --quick`` asserts; CI runs the command itself."""

import pytest

from benchmarks.quick import LIMITS


def result(messages: int, **requests: int) -> dict[str, object]:
    return {"messages": messages, "requests": requests}


def test_the_limits_are_those_of_requests_per_message() -> None:
    assert [limit.most for limit in LIMITS] == [0.31, 0.12, 1.2, 0, 3]


def test_each_limit_counts_what_it_says() -> None:
    full, sends, trickle, idle, polls = LIMITS
    sent = result(100, SendMessageBatch=10, ReceiveMessage=1)
    good = {"produce": sent, "consume": result(100, ReceiveMessage=10, DeleteMessageBatch=11)}
    bad = {"produce": sent, "consume": result(100, ReceiveMessage=10, DeleteMessageBatch=12)}
    kept, line = full.judge(good)
    assert kept
    assert line == "full queue, requests per message: 0.310, at most 0.31: ok"
    assert not full.judge(bad)[0]
    assert sends.judge({"produce": result(100, SendMessageBatch=12, ReceiveMessage=9)})[0]
    assert not sends.judge({"produce": result(100, SendMessageBatch=12, SendMessage=1)})[0]
    assert trickle.judge(result(100, SendMessage=100, ReceiveMessage=100, DeleteMessageBatch=20))[0]
    assert not trickle.judge(result(100, ReceiveMessage=100, DeleteMessageBatch=21))[0]
    assert idle.judge(result(0))[0]
    assert not idle.judge(result(0, ReceiveMessage=1))[0]
    assert polls.judge({"waits_s": [20]})[0]
    assert not polls.judge({"waits_s": [19]})[0]
    assert not polls.judge({"waits_s": [20, 20]})[0]


@pytest.mark.parametrize(
    "kind", ["GetQueueUrl", "GetQueueAttributes", "CreateQueue", "ChangeMessageVisibility"]
)
def test_requests_of_every_kind_count(kind: str) -> None:
    full, sends, trickle, idle, _ = LIMITS
    sent, taken = {"SendMessageBatch": 10}, {"ReceiveMessage": 10, "DeleteMessageBatch": 10}
    producing, consuming = result(100, **sent, **{kind: 3}), result(100, **taken, **{kind: 3})
    assert not full.judge({"produce": producing, "consume": result(100, **taken)})[0]
    assert not full.judge({"produce": result(100, **sent), "consume": consuming})[0]
    assert not sends.judge({"produce": producing})[0]
    assert not trickle.judge(result(100, **taken, **{kind: 101}))[0]
    assert not idle.judge(result(0, **{kind: 1}))[0]

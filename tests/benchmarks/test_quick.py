"""What ``scripts/bench --quick`` asserts; CI runs the command itself."""

from benchmarks.quick import LIMITS


def result(messages: int, **requests: int) -> dict[str, object]:
    return {"messages": messages, "requests": requests}


def test_the_limits_are_those_of_requests_per_message() -> None:
    assert [limit.most for limit in LIMITS] == [0.31, 0.15, 1.2, 0]


def test_each_limit_counts_what_it_says() -> None:
    full, sends, trickle, idle = LIMITS
    sent = result(100, SendMessageBatch=10, ReceiveMessage=1)
    good = {"produce": sent, "consume": result(100, ReceiveMessage=10, DeleteMessageBatch=11)}
    bad = {"produce": sent, "consume": result(100, ReceiveMessage=10, DeleteMessageBatch=12)}
    kept, line = full.judge(good)
    assert kept
    assert line == "full queue, requests per message: 0.310, at most 0.31: ok"
    assert not full.judge(bad)[0]
    assert sends.judge({"produce": result(100, SendMessageBatch=15)})[0]
    assert not sends.judge({"produce": result(100, SendMessageBatch=15, SendMessage=1)})[0]
    assert trickle.judge(result(100, SendMessage=100, ReceiveMessage=100, DeleteMessageBatch=20))[0]
    assert not trickle.judge(result(100, ReceiveMessage=100, DeleteMessageBatch=21))[0]
    assert idle.judge(result(0))[0]
    assert not idle.judge(result(0, ReceiveMessage=1))[0]

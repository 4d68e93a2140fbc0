"""The sender: batches, retries, time limits, cancellation, bounds, and an orderly end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes import FIFO, QUEUE, Call, ScriptedBroker, Slow, entry, tools, trouble, virtually

from mqtransport.channel.base import QueueRef
from mqtransport.channel.options import SendOptions
from mqtransport.channel.outbox import Entry
from mqtransport.channel.sender import Sender
from mqtransport.errors import (
    AccessDeniedError,
    BrokerError,
    BrokerUnavailableError,
    MessageRefusedError,
    NotStartedError,
    QueueNotFoundError,
    RefusedError,
    SendError,
    ThrottledError,
)
from mqtransport.message import Outgoing

DOWN = BrokerUnavailableError("down")
LOST = BrokerUnavailableError("the reply was lost", maybe_done=True)
REFUSED = RefusedError("illegal")


class Bench:
    def __init__(
        self, queue: QueueRef = QUEUE, broker: ScriptedBroker | None = None, **options: Any
    ) -> None:
        self.broker = broker or ScriptedBroker()
        self.trouble = trouble(self.broker)
        self.refitted: list[Entry] = []
        self.why_refused: str | None = ""
        self.refit_s = 0.0
        self.sender = Sender(
            queue, tools(self.broker), SendOptions(**options), self.trouble, self._refit
        )
        self.sender.open()
        self.task = asyncio.create_task(self.sender.run())

    async def _refit(self, entry: Entry) -> str | None:
        self.refitted.append(entry)
        await asyncio.sleep(self.refit_s)
        return self.why_refused

    def send(self, one: Entry, timeout_s: float = 10.0) -> asyncio.Task[None]:
        return asyncio.create_task(self.sender.send(one, timeout_s))

    def sends(self, count: int, timeout_s: float = 10.0) -> list[asyncio.Task[None]]:
        return [self.send(entry(str(n)), timeout_s) for n in range(count)]

    @property
    def calls(self) -> list[Call]:
        return self.broker.of("send")

    @property
    def ids(self) -> list[list[str]]:
        return [[one.id for one in call.items] for call in self.calls]

    @property
    def now(self) -> float:
        return self.broker.clock.monotonic()


@asynccontextmanager
async def sending(**options: Any) -> AsyncIterator[Bench]:
    bench = Bench(**options)
    try:
        yield bench
    finally:
        bench.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await bench.task
        bench.sender.close()


async def ended(*tasks: asyncio.Task[None]) -> list[BaseException | None]:
    return [  # in order; None is success
        found if isinstance(found, BaseException) else None
        for found in await asyncio.gather(*tasks, return_exceptions=True)
    ]


# -- batches --------------------------------------------------------------------------------


@virtually
async def test_three_hundred_concurrent_sends_make_thirty_calls() -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = Slow(0.02)
        assert await ended(*bench.sends(300)) == [None] * 300
        assert [call.size for call in bench.calls] == [10] * 30
        assert bench.broker.most_open <= SendOptions().max_in_flight
        assert [i for batch in bench.ids for i in batch] == [f"m-{n}" for n in range(300)]
        assert bench.sender.confirmed == 300
        assert len(bench.sender.outbox) == 0


@virtually
async def test_a_single_send_leaves_at_once() -> None:
    async with sending() as bench:
        await bench.sender.send(entry(), 10)
        assert bench.calls[0].at == 0
        assert bench.now == 0


@virtually
async def test_a_partial_batch_waits_for_company_while_another_is_under_way() -> None:
    async with sending(linger_s=0.005) as bench:
        bench.broker.standing["send"] = Slow(1.0)
        first = bench.send(entry("first"))
        await asyncio.sleep(0.1)
        later = bench.sends(3)
        await ended(first, *later)
        assert [(round(call.at, 4), call.size) for call in bench.calls] == [(0, 1), (0.105, 3)]


@virtually
async def test_each_partial_batch_lingers_anew_while_a_request_hangs() -> None:
    async with sending(linger_s=0.005) as bench:
        bench.broker.standing["send"] = Slow(5.0)
        first = bench.send(entry("first"))
        later = []
        for name in "abc":
            await asyncio.sleep(0.1)
            later.append(bench.send(entry(name)))
        await ended(first, *later)
        assert [round(call.at, 4) for call in bench.calls] == [0, 0.105, 0.205, 0.305]


@virtually
async def test_batches_are_bounded_by_bytes() -> None:
    async with sending() as bench:
        sizes = [400, 400, 400, 900, 300, 100]
        tasks = [bench.send(entry(str(n), size)) for n, size in enumerate(sizes)]
        assert await ended(*tasks) == [None] * 6
        assert bench.ids == [["m-0", "m-1"], ["m-2"], ["m-3"], ["m-4", "m-5"]]


@virtually
async def test_on_an_ordered_queue_one_message_of_a_group_is_under_way_at_a_time() -> None:
    async with sending(queue=FIFO) as bench:
        bench.broker.standing["send"] = Slow(1.0)
        tasks = [bench.send(entry(name, group=name[0])) for name in ("a1", "a2", "b1", "a3")]
        assert await ended(*tasks) == [None] * 4
        assert bench.ids == [["m-a1", "m-b1"], ["m-a2"], ["m-a3"]]


# -- failures -------------------------------------------------------------------------------


@virtually
async def test_a_partial_failure_is_tried_again_alone_with_the_same_id() -> None:
    async with sending() as bench:
        bench.broker.script("send", ["a", DOWN, "c"], [ThrottledError("slow")])
        assert await ended(*bench.sends(3)) == [None] * 3
        assert bench.ids == [["m-0", "m-1", "m-2"], ["m-1"], ["m-1"]]


@virtually
async def test_a_partial_failure_is_tried_again_in_time_while_later_requests_hang() -> None:
    async with sending(linger_s=0.005) as bench:
        bench.broker.script("send", [ThrottledError("slow"), "b"], Slow(60), Slow(60))
        again, _ = bench.sends(2, 100)
        await asyncio.sleep(0.01)
        for name in "cd":  # the second lingers, and leaves before the failed one is due
            bench.send(entry(name), 100)
            await asyncio.sleep(0.001)
        await again
        assert bench.now < 1
        assert bench.ids == [["m-0", "m-1"], ["m-c"], ["m-d"], ["m-0"]]


@virtually
async def test_a_permanent_failure_fails_at_once_and_leaves_its_batch_mates_alone() -> None:
    async with sending() as bench:
        bench.broker.script("send", ["a", REFUSED, "c"])
        found = await ended(*bench.sends(3))
        assert [type(one) for one in found] == [type(None), MessageRefusedError, type(None)]
        error: Any = found[1]
        assert (error.message_id, error.outcome, error.queue) == ("m-1", "not_sent", "orders")
        assert error.__cause__ is REFUSED
        assert len(bench.calls) == 1
        assert bench.now == 0


@virtually
async def test_a_refused_batch_is_sent_one_by_one_to_find_the_bad_message() -> None:
    def answer(call: Call) -> Any:
        if any(one.id == "m-3" for one in call.items):
            raise REFUSED
        return ["ok"] * call.size

    async with sending() as bench:
        bench.broker.standing["send"] = answer
        found = await ended(*bench.sends(10))
        assert [n for n, one in enumerate(found) if one is not None] == [3]
        assert isinstance(found[3], MessageRefusedError)
        assert [call.size for call in bench.calls] == [10] + [1] * 10


@pytest.mark.parametrize("answer", [DOWN, [DOWN] * 3, [], ["a", "b"], ["a"] * 4])
@virtually
async def test_a_failed_call_is_tried_again_with_the_same_ids(answer: Any) -> None:
    async with sending() as bench:
        bench.broker.script("send", answer)
        assert await ended(*bench.sends(3)) == [None] * 3
        sent_again = [i for batch in bench.ids[1:] for i in batch]
        assert sorted(sent_again) == ["m-0", "m-1", "m-2"]


@virtually
async def test_after_a_failed_call_one_request_probes() -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = Slow(1.0, DOWN)
        tasks = bench.sends(200, timeout_s=60)
        await asyncio.sleep(5)
        bench.broker.most_open = 0
        await asyncio.sleep(40)
        assert bench.broker.most_open == 1
        bench.broker.standing["send"] = None
        assert await ended(*tasks) == [None] * 200


@pytest.mark.parametrize("error", [AccessDeniedError("denied"), QueueNotFoundError("missing")])
@virtually
async def test_a_queue_that_cannot_be_used_fails_its_callers_at_once(error: Exception) -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = error
        for _ in range(3):
            started = bench.now
            (found,) = await ended(bench.send(entry()))
            assert isinstance(found, SendError)
            assert found.__cause__ is error
            assert bench.now == started


@pytest.mark.parametrize("error", [AccessDeniedError("denied"), QueueNotFoundError("missing")])
@virtually
async def test_what_the_broker_denied_was_surely_not_sent(error: Exception) -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = error
        (found,) = await ended(bench.send(entry()))
        assert isinstance(found, SendError)
        assert found.outcome == "not_sent"


@virtually
async def test_a_refusal_after_a_lost_reply_leaves_the_outcome_unknown() -> None:
    """The first attempt may have arrived; that the second was refused does not undo it."""
    async with sending() as bench:
        lost = BrokerUnavailableError("no reply", maybe_done=True)
        bench.broker.script("send", lost, [RefusedError("too large now")])
        (found,) = await ended(bench.send(entry()))
        assert isinstance(found, SendError)
        assert not isinstance(found, MessageRefusedError)
        assert found.outcome == "unknown"


# -- time limits and outcomes ---------------------------------------------------------------


@virtually
async def test_a_send_ends_at_its_time_limit() -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = DOWN
        (found,) = await ended(bench.send(entry(), 10))
        assert bench.now == pytest.approx(10)
        assert isinstance(found, SendError)
        assert (found.outcome, found.message_id) == ("not_sent", "m-1")
        assert found.__cause__ is DOWN
        assert len(bench.sender.outbox) == 0


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (DOWN, "not_sent"),
        ([DOWN], "not_sent"),
        (LOST, "unknown"),
        ([LOST], "unknown"),
        (Slow(100), "unknown"),
        ([], "unknown"),
    ],
    ids=["refused", "item refused", "lost", "item lost", "in flight", "wrong length"],
)
@virtually
async def test_the_outcome_of_a_send_that_ran_out_of_time(answer: Any, outcome: str) -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = answer
        (found,) = await ended(bench.send(entry(), 3))
        assert isinstance(found, SendError)
        assert found.outcome == outcome


@virtually
async def test_one_lost_reply_makes_the_outcome_unknown_for_good() -> None:
    async with sending() as bench:
        bench.broker.script("send", LOST)
        bench.broker.standing["send"] = DOWN
        (found,) = await ended(bench.send(entry(), 5))
        assert isinstance(found, SendError)
        assert found.outcome == "unknown"


@virtually
async def test_a_confirmation_in_the_last_moment_is_a_confirmation() -> None:
    for delay_s in (2.9, 3.0, 3.1):
        async with sending() as bench:
            bench.broker.standing["send"] = Slow(delay_s)
            (found,) = await ended(bench.send(entry(), 3.0))
            confirmed = bench.sender.confirmed
            assert (found is None) <= (confirmed == 1)
            assert (delay_s > 3.0) <= (found is not None)


@virtually
async def test_a_reply_in_the_round_of_the_time_limit_leaves_the_outcome_unknown() -> None:
    async with sending() as bench:
        loop = asyncio.get_running_loop()
        answered = loop.create_future()

        async def answer(*_: object) -> list[str]:
            await answered
            return ["id"]

        bench.sender._broker.send = answer  # type: ignore[method-assign, assignment]
        task = bench.send(entry(), 3.0)
        await asyncio.sleep(1)
        # In the same round of the loop as the time limit: the reply is read in the next one.
        loop.call_later(2.0 - 1e-7, answered.set_result, None)
        (found,) = await ended(task)
        assert bench.sender.confirmed == 1
        assert isinstance(found, SendError)
        assert found.outcome == "unknown"


# -- cancellation ---------------------------------------------------------------------------


@virtually
async def test_a_cancelled_caller_withdraws_a_message_that_has_not_left() -> None:
    async with sending(max_in_flight=1) as bench:
        bench.broker.standing["send"] = Slow(5.0)
        first = bench.send(entry("first"))
        await asyncio.sleep(1)
        tasks = bench.sends(3)
        await asyncio.sleep(1)
        tasks[1].cancel()
        found = await ended(first, *tasks)
        assert isinstance(found[2], asyncio.CancelledError)
        assert [found[0], found[1], found[3]] == [None] * 3
        assert bench.ids == [["m-first"], ["m-0", "m-2"]]


@virtually
async def test_a_cancelled_caller_hurts_no_batch_mate_in_flight() -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = Slow(5.0)
        tasks = bench.sends(10)
        await asyncio.sleep(1)
        for task in tasks[::2]:
            task.cancel()
        found = await ended(*tasks)
        assert [one is None for one in found] == [False, True] * 5
        assert len(bench.calls) == 1


@virtually
async def test_a_cancelled_message_whose_call_failed_is_not_sent_again() -> None:
    async with sending() as bench:
        bench.broker.script("send", Slow(2.0, DOWN))
        tasks = bench.sends(2)
        await asyncio.sleep(1)
        tasks[0].cancel()
        await ended(*tasks)
        assert bench.ids == [["m-0", "m-1"], ["m-1"]]


# -- buffering ------------------------------------------------------------------------------


@virtually
async def test_buffered_messages_survive_an_outage_of_an_hour() -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = Slow(1.0, DOWN)
        for n in range(100):
            await bench.sender.buffer(entry(str(n)), 10)
        await asyncio.sleep(3600)
        outage_calls = len(bench.calls)
        assert 300 < outage_calls < 3600
        assert len(bench.sender.outbox) == 100
        bench.broker.standing["send"] = None
        await asyncio.sleep(20)
        sent = [i for batch in bench.ids[outage_calls:] for i in batch]
        assert sorted(sent) == sorted(f"m-{n}" for n in range(100))
        assert bench.sender.confirmed == 100


@virtually
async def test_attempts_at_a_broker_that_fails_at_once_grow_apart() -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = DOWN
        await bench.sender.buffer(entry(), 10)
        await asyncio.sleep(600)
        # Full jitter below a quarter of the send timeout: a pause of 1.25 s on average.
        assert 240 < len(bench.calls) < 800


@virtually
async def test_a_missing_queue_is_asked_for_once_a_minute_while_only_buffers_wait() -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = QueueNotFoundError("missing")
        await bench.sender.buffer(entry(), 10)
        await asyncio.sleep(3600)
        assert 55 <= len(bench.calls) <= 62
        assert len(bench.sender.outbox) == 1


@virtually
async def test_a_refused_buffered_message_is_kept_for_export() -> None:
    async with sending() as bench:
        bench.broker.script("send", ["a", REFUSED])
        first, second = entry("1"), entry("2")
        await bench.sender.buffer(first, 10)
        await bench.sender.buffer(second, 10)
        await asyncio.sleep(1)
        assert list(bench.sender.refused) == [second]
        assert len(bench.sender.outbox) == 0


@virtually
async def test_a_full_buffer_makes_callers_wait_until_there_is_room() -> None:
    async with sending(max_buffered=2) as bench:
        bench.broker.standing["send"] = Slow(3.0)
        for n in range(2):
            await bench.sender.buffer(entry(str(n)), 10)
        await bench.sender.buffer(entry("late"), 10)
        assert bench.now == pytest.approx(3.0)
        assert len(bench.sender.outbox) == 1


@virtually
async def test_a_buffer_that_stays_full_is_an_error_in_time() -> None:
    async with sending(max_buffered=2, max_buffered_bytes=100) as bench:
        bench.broker.standing["send"] = DOWN
        for n in range(2):
            await bench.sender.buffer(entry(str(n)), 10)
        with pytest.raises(SendError, match="stayed full") as caught:
            await bench.sender.buffer(entry("late"), 7)
        assert bench.now == pytest.approx(7)
        assert caught.value.outcome == "not_sent"
        (found,) = await ended(bench.send(entry("later"), 7))
        assert isinstance(found, SendError)
        assert found.outcome == "not_sent"
        assert len(bench.sender.outbox) == 2


@virtually
async def test_the_room_is_never_exceeded() -> None:
    async with sending(max_buffered=5) as bench:
        bench.broker.standing["send"] = Slow(0.5)
        tasks = bench.sends(60, timeout_s=100)
        while not all(task.done() for task in tasks):
            assert len(bench.sender.outbox) <= 5
            await asyncio.sleep(0.1)
        assert await ended(*tasks) == [None] * 60


# -- the end --------------------------------------------------------------------------------


@virtually
async def test_a_drained_sender_ends_when_everything_is_confirmed() -> None:
    async with sending() as bench:
        bench.broker.script("send", DOWN, Slow(2.0))
        await bench.sender.buffer(entry(), 10)
        await asyncio.sleep(0)
        bench.sender.drain()
        await asyncio.wait_for(bench.task, 30)
        assert bench.sender.confirmed == 1


@virtually
async def test_an_idle_sender_ends_at_once_when_drained() -> None:
    async with sending() as bench:
        await asyncio.sleep(1)
        bench.sender.drain()
        await asyncio.wait_for(bench.task, 1)
        assert bench.now == 1


async def close_while_down(bench: Bench) -> None:
    await asyncio.sleep(2)
    bench.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await bench.task
    bench.sender.close()


@virtually
async def test_a_close_fails_waiting_callers_and_keeps_buffered_messages() -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = DOWN
        buffered = [entry(f"b{n}") for n in range(15)]
        for one in buffered:
            await bench.sender.buffer(one, 10)
        tasks = bench.sends(3)
        await close_while_down(bench)
        found = await ended(*tasks)
        assert all(isinstance(one, SendError) for one in found)
        assert bench.now == 2
        assert list(bench.sender.outbox) == buffered
        assert not any(one.in_flight for one in buffered)


@virtually
async def test_a_close_fails_a_caller_in_flight_with_an_unknown_outcome() -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = Slow(100)
        task = bench.send(entry())
        await close_while_down(bench)
        (found,) = await ended(task)
        assert isinstance(found, SendError)
        assert found.outcome == "unknown"


@pytest.mark.parametrize("buffered", [0, 2])
@virtually
async def test_a_close_fails_callers_who_wait_for_room(buffered: int) -> None:
    async with sending(max_buffered=2) as bench:
        bench.broker.standing["send"] = DOWN
        for n in range(buffered):
            await bench.sender.buffer(entry(f"b{n}"), 10)
        tasks = bench.sends(4)
        await close_while_down(bench)
        found = await ended(*tasks)
        assert [type(one) for one in found] == [SendError] * 4
        assert bench.now == 2


@virtually
async def test_a_sender_that_was_not_opened_or_was_closed_takes_no_confirmed_send() -> None:
    async with sending() as bench:
        bench.sender.close()
        with pytest.raises(NotStartedError):
            await bench.sender.send(entry(), 10)


@virtually
async def test_a_sender_can_be_opened_again_and_sends_what_was_left() -> None:
    async with sending() as bench:
        bench.broker.standing["send"] = Slow(100)
        await bench.sender.buffer(entry("left"), 10)
        await close_while_down(bench)
        bench.broker.standing["send"] = None
        bench.sender.open()
        bench.task = asyncio.create_task(bench.sender.run())
        await bench.sender.send(entry("new"), 10)
        await asyncio.sleep(1)
        assert bench.sender.confirmed == 2
        assert len(bench.sender.outbox) == 0


@pytest.mark.parametrize("cycles", range(4))
@virtually
async def test_a_stop_before_a_requests_first_step_leaves_no_trace(cycles: int) -> None:
    async with sending(max_in_flight=1) as bench:
        await asyncio.sleep(0)
        await bench.sender.buffer(entry("left"), 10)
        for _ in range(cycles):
            if not bench.calls:
                await asyncio.sleep(0)
        bench.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await bench.task
        bench.sender.close()
        bench.sender.open()
        bench.task = asyncio.create_task(bench.sender.run())
        await asyncio.sleep(60)
        assert bench.sender.confirmed == 1


@pytest.mark.parametrize("queue", [QUEUE, FIFO])
@virtually
async def test_refused_messages_are_all_dealt_with_although_a_stop_came_between(
    queue: QueueRef,
) -> None:
    async with sending(queue=queue) as bench:
        bench.why_refused = None
        bench.refit_s = 100.0
        bench.broker.script("send", [REFUSED, REFUSED, REFUSED])
        for name in "abc":
            await bench.sender.buffer(entry(name, group=name), 10)
        await close_while_down(bench)
        assert [one.message.id for one in bench.sender.refused] == ["m-a"]
        bench.sender.open()
        bench.task = asyncio.create_task(bench.sender.run())
        bench.sender.drain()
        await asyncio.wait_for(asyncio.shield(bench.task), 5)
        assert bench.ids[1:] == [["m-b", "m-c"]]


class Deaf(ScriptedBroker):
    """Takes a cancellation for an answer, as a driver can whose result comes at the same time."""

    answer: Exception | None = None

    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        try:
            return await super().send(queue, batch)
        except asyncio.CancelledError:
            if self.answer is not None:
                raise self.answer from None
            return [f"broker-{one.id}" for one in batch]


@pytest.mark.parametrize(("answer", "max_in_flight"), [(None, 1), (QueueNotFoundError("gone"), 4)])
@virtually
async def test_a_sender_ends_also_if_the_driver_swallows_its_cancellation(
    answer: Exception | None, max_in_flight: int
) -> None:
    broker = Deaf()
    broker.answer = answer
    broker.standing["send"] = Slow(100)
    async with sending(broker=broker, max_in_flight=max_in_flight) as bench:
        for name in "ab":
            await bench.sender.buffer(entry(name, 900), 10)
            await asyncio.sleep(1)
        await bench.sender.buffer(entry("c", 900), 10)
        bench.sender.drain()
        await asyncio.sleep(1)
        calls = len(bench.calls)
        bench.task.cancel()
        await asyncio.wait({bench.task}, timeout=0.1)
        bench.sender.close()
        assert bench.task.done()
        assert len(bench.calls) == calls


@virtually
async def test_a_foreign_exception_of_the_driver_ends_the_sender_with_it() -> None:
    async with sending() as bench:
        bench.broker.script("send", KeyError("defect"))
        one = entry("buffered")
        await bench.sender.buffer(one, 10)
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(asyncio.shield(bench.task), 5)
        assert caught.group_contains(KeyError)
        assert list(bench.sender.outbox) == [one]
        bench.task = asyncio.create_task(asyncio.sleep(0))


@virtually
async def test_a_long_run_of_failures_of_all_kinds_ends_every_send_in_time() -> None:
    from random import Random

    source = Random(3)
    confirmed: set[str] = set()

    def answer(call: Call) -> Any:
        if source.random() < 0.2:
            raise source.choice([DOWN, LOST, REFUSED, AccessDeniedError("no")])
        found: list[Any] = []
        for one in call.items:
            result = source.choice(["ok", "ok", DOWN, LOST, REFUSED])
            if result == "ok":
                confirmed.add(one.id)
            found.append(result)
        return found

    async with sending(max_buffered=20) as bench:
        bench.broker.standing["send"] = lambda call: answer(call)
        entries = [entry(str(n)) for n in range(200)]
        tasks = []
        for one in entries:
            tasks.append(bench.send(one, 10))
            await asyncio.sleep(source.random() / 10)
        found = await ended(*tasks)
        for one, error in zip(entries, found, strict=True):
            if error is None:
                assert one.message.id in confirmed  # never a false confirm
            else:
                assert isinstance(error, SendError)
                if error.outcome == "not_sent":
                    assert one.message.id not in confirmed
        assert len(bench.sender.outbox) == 0
        assert not bench.task.done()


# -- messages that do not fit any more ------------------------------------------------------


@virtually
async def test_a_refused_message_that_was_packed_anew_is_sent_again() -> None:
    async with sending() as bench:
        bench.why_refused = None
        bench.broker.script("send", [REFUSED], ["id"])
        one = entry("1")
        assert await ended(bench.send(one)) == [None]
        assert bench.refitted == [one]
        assert bench.ids == [["m-1"], ["m-1"]]


@virtually
async def test_a_refused_message_that_cannot_be_packed_anew_says_why() -> None:
    async with sending() as bench:
        bench.why_refused = "it has 900 bytes; the limit is 100"
        bench.broker.script("send", [REFUSED])
        (error,) = await ended(bench.send(entry("1")))
        assert isinstance(error, MessageRefusedError)
        assert "the limit is 100" in str(error)
        assert error.outcome == "not_sent"

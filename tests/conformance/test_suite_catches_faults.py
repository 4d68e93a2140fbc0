"""Drivers that meet a fault wrongly: each must turn a named case red."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError, BrokerUnavailableError
from mqtransport.message import Outgoing, RawDelivery
from mqtransport.testing import BrokerConformance
from mqtransport.testing.conformance import case_names, failures, run_case

from .faulty import GARBAGE, FaultyHarness, FaultyMemory


class IgnoresRefusedItems(FaultyMemory):
    def with_refused(self, answers: list[Any], refused: BrokerError) -> list[Any]:
        return [answers[0], answers[0], *answers[1:]]


class RefusesTheWrongItem(FaultyMemory):
    def with_refused(self, answers: list[Any], refused: BrokerError) -> list[Any]:
        return [*answers, refused]


class OneRefusedItemFailsAll(FaultyMemory):
    def with_refused(self, answers: list[Any], refused: BrokerError) -> list[Any]:
        return [refused for _ in range(len(answers) + 1)]


class RaisesForOneRefusedItem(FaultyMemory):
    def with_refused(self, answers: list[Any], refused: BrokerError) -> list[Any]:
        raise refused


class LeaksConnectionErrors(FaultyMemory):
    def translated(self, error: Exception) -> Exception:
        return error if isinstance(error, ConnectionError) else super().translated(error)


class CallsThrottlingUnreachable(FaultyMemory):
    def translated(self, error: Exception) -> Exception:
        return BrokerUnavailableError("no answer", maybe_done=True)


class ForgetsThatItMayBeDone(FaultyMemory):
    def translated(self, error: Exception) -> Exception:
        known = super().translated(error)
        return type(known)(str(known))


class TakesGarbageForSuccess(FaultyMemory):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> Any:
        try:
            return await super().send(queue, batch)
        except BrokerUnavailableError as error:
            return ["id" for _ in batch] if str(error) == "garbage" else [error]


class TakesGarbageForAnEmptyQueue(FaultyMemory):
    def judged(self, answer: Any) -> Any:
        return [] if answer is GARBAGE else answer


class TakesGarbageForAnAck(FaultyMemory):
    async def ack(self, queue: str, receipts: Sequence[str]) -> Any:
        try:
            return await super().ack(queue, receipts)
        except BrokerUnavailableError:
            return [None for _ in receipts]


class NeverTimesOut(FaultyMemory):
    async def _over(self, verb: str, work: Callable[[], Awaitable[Any]], wait_s: float = 0) -> Any:
        return await super()._over(verb, work, 1000)


class TimesOutDuringTheWait(FaultyMemory):
    async def receive(self, queue: str, **options: Any) -> list[RawDelivery]:
        taken: list[RawDelivery] = await self._over(
            "receive", lambda: MemoryBroker.receive(self, queue, **options), -4
        )
        return taken


class RetriesByItself(FaultyMemory):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> Any:
        try:
            return await super().send(queue, batch)
        except BrokerError:
            self.link.fault = ""
            return await super().send(queue, batch)


class StaysDown(FaultyMemory):
    down = False

    async def _over(self, verb: str, work: Callable[[], Awaitable[Any]], wait_s: float = 0) -> Any:
        if self.down:
            raise BrokerUnavailableError("still down")
        try:
            return await super()._over(verb, work, wait_s)
        except BrokerUnavailableError:
            self.down = True
            raise


class ClosesOverTheLink(FaultyMemory):
    async def aclose(self) -> None:
        if self._state == "open":
            await self._over("aclose", lambda: MemoryBroker.aclose(self))
        await super().aclose()


DEFECTS: dict[type[FaultyMemory], list[str]] = {
    IgnoresRefusedItems: [
        "a_refused_message_is_reported_alone",
        "a_refused_ack_is_reported_alone",
        "a_refused_release_is_reported_alone",
        "a_refused_extension_is_reported_alone",
    ],
    RefusesTheWrongItem: [
        "a_refused_message_is_reported_alone",
        "a_refused_ack_is_reported_alone",
        "a_refused_release_is_reported_alone",
        "a_refused_extension_is_reported_alone",
    ],
    OneRefusedItemFailsAll: ["a_refused_message_is_reported_alone"],
    RaisesForOneRefusedItem: ["a_refused_ack_is_reported_alone"],
    LeaksConnectionErrors: ["an_unreachable_broker_is_reported_in_time"],
    CallsThrottlingUnreachable: ["throttling_is_reported_as_such"],
    ForgetsThatItMayBeDone: ["a_hanging_broker_is_reported_in_time"],
    TakesGarbageForSuccess: ["a_garbage_reply_confirms_nothing"],
    TakesGarbageForAnEmptyQueue: ["a_garbage_reply_confirms_nothing"],
    TakesGarbageForAnAck: ["a_garbage_reply_confirms_nothing"],
    NeverTimesOut: [
        "a_hanging_broker_is_reported_in_time",
        "a_hanging_receive_ends_after_its_wait_and_the_timeout",
    ],
    TimesOutDuringTheWait: ["a_hanging_receive_ends_after_its_wait_and_the_timeout"],
    RetriesByItself: ["an_unreachable_broker_is_reported_in_time"],
    StaysDown: ["no_fault_lasts_longer_than_itself"],
    ClosesOverTheLink: ["closing_under_a_dead_link_raises_nothing"],
}


def test_a_sound_driver_passes_with_all_hooks() -> None:
    assert failures(BrokerConformance, FaultyHarness()) == {}


@pytest.mark.parametrize(
    ("broker", "name"),
    [(broker, f"test_{name}") for broker, names in DEFECTS.items() for name in names],
)
def test_the_suite_catches(broker: type[FaultyMemory], name: str) -> None:
    assert name in case_names(BrokerConformance)
    with pytest.raises((AssertionError, BrokerError, ConnectionError)):
        run_case(BrokerConformance, name, FaultyHarness(broker))

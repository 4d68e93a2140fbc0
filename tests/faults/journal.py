"""The journal of a campaign: what became of every message, and which of them are lost.

Messages are known by the key in their body, which no fault can change. A message is lost if its
send was confirmed, and it was neither handled nor lies in the queue or its dead letter queue.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from pydantic import BaseModel

from mqtransport import Delivery, Producer, SendError
from mqtransport.testing.sqs_double import SQSDouble


class Item(BaseModel):
    key: str


class Items(Producer[Item]):
    name = "item"


@dataclass(repr=False)
class Journal:
    """What the application saw, and what was left at the end.

    Attributes:
        attempts: sends begun, by key; sending again with the same message id counts.
        confirmed: keys whose send returned.
        raised: keys whose sends raised so far, to the outcomes that the errors carried.
        ids: message ids seen by senders and handlers, by key; there should be one.
        handled: runs of the handler that returned, by key.
        waiting: keys found in the queue by :meth:`look`.
        dead_lettered: keys found in the dead letter queue by :meth:`look`.
        looked: whether it looked; before that nobody knows what is lost.
    """

    attempts: Counter[str] = field(default_factory=Counter)
    confirmed: set[str] = field(default_factory=set)
    raised: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    ids: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    handled: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    dead_lettered: Counter[str] = field(default_factory=Counter)
    looked: bool = False

    async def send(
        self,
        producer: Items,
        key: str,
        *,
        group: str | None = None,
        retried: Collection[str] = ("unknown", "not_sent"),
        most: int = 100,
    ) -> bool:
        """Send one message and write down what came of it; return whether it is confirmed.

        Args:
            producer: sends it.
            key: the message's key.
            group: its group.
            retried: outcomes after which it is sent again, with the same message id.
            most: sends at most.
        """
        message_id: str | None = None
        for _ in range(most):
            self.attempts[key] += 1
            try:
                sent = await producer.send(Item(key=key), group=group, message_id=message_id)
            except SendError as error:
                message_id = error.message_id
                self.ids[key].add(message_id)
                self.raised[key].append(error.outcome)
                if error.outcome not in retried:
                    return False
                continue
            assert sent.state == "confirmed", sent
            self.ids[key].add(sent.id)
            self.confirmed.add(key)
            return True
        return False

    def done(self, item: Item, delivery: Delivery) -> None:
        """Note a run of the handler that is about to return."""
        self.ids[item.key].add(delivery.id)
        self.handled[item.key] += 1

    def look(self, double: SQSDouble, queue: str, dead_letter_queue: str | None = None) -> None:
        """Write down what is left in the queues."""
        self.looked = True
        self.waiting = _keys(double, queue)
        if dead_letter_queue is not None:
            self.dead_lettered = _keys(double, dead_letter_queue)

    @property
    def lost(self) -> set[str]:
        """Keys of confirmed messages that are nowhere."""
        return self.confirmed - set(self.handled) - set(self.waiting) - set(self.dead_lettered)

    @property
    def duplicated(self) -> int:
        """Runs of the handler beyond the first of each message."""
        return self.handled.total() - len(self.handled)

    @property
    def not_sent(self) -> set[str]:
        """Keys of which every send said that the message surely is not in the queue."""
        return {
            key
            for key, outcomes in self.raised.items()
            if key not in self.confirmed and set(outcomes) == {"not_sent"}
        }

    def check(self) -> None:
        """Judge the campaign; call it after :meth:`look`."""
        assert not self.lost, f"lost: {some(self.lost)}; {self}"
        unreported = set(self.attempts) - self.confirmed - set(self.raised)
        assert not unreported, f"neither confirmed nor raised: {some(unreported)}; {self}"
        outcomes = {one for found in self.raised.values() for one in found}
        assert outcomes <= {"unknown", "not_sent"}, f"{outcomes}; {self}"
        there = {*self.handled, *self.waiting, *self.dead_lettered}
        false = self.not_sent & there
        assert not false, f"reported as not sent, and yet there: {some(false)}; {self}"
        unasked = there - set(self.attempts)
        assert not unasked, f"nobody sent them: {some(unasked)}; {self}"
        renamed = {key for key, ids in self.ids.items() if len(ids) > 1}
        assert not renamed, f"more than one message id: {some(renamed)}; {self}"

    def __repr__(self) -> str:
        numbers = {
            "attempted": len(self.attempts),
            "confirmed": len(self.confirmed),
            "handled": len(self.handled),
            "duplicated": self.duplicated,
            "dead-lettered": len(self.dead_lettered),
            "lost": len(self.lost) if self.looked else "not known",
        }
        return ", ".join(f"{name} {number}" for name, number in numbers.items())


def some(keys: Iterable[str]) -> str:
    """Return a few of the keys, for a message."""
    found = sorted(keys)
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def _keys(double: SQSDouble, queue: str) -> Counter[str]:
    return Counter(json.loads(message.body)["key"] for message in double.messages(queue))

"""Deadlines: each caller's time ends when it is over, whatever the order, with one timer."""

import asyncio
import random
from unittest.mock import Mock

from fakes import entry, virtually

from mqtransport.channel.deadlines import Deadlines
from mqtransport.channel.outbox import Entry


class Watched:
    """Deadlines, and when each entry's time was over."""

    def __init__(self) -> None:
        self.over: dict[Entry, float] = {}
        self.deadlines = Deadlines(self._expire)

    def _expire(self, one: Entry) -> None:
        assert one not in self.over
        self.over[one] = asyncio.get_running_loop().time()
        self.deadlines.discard(one)


@virtually
async def test_each_entry_expires_at_its_own_time_in_any_order() -> None:
    watched, source = Watched(), random.Random(7)
    dues = {entry(str(n)): source.uniform(0, 20) for n in range(300)}
    gone = set(source.sample(list(dues), 100))
    for one, due in dues.items():
        watched.deadlines.add(one, due)
    for one in gone:
        watched.deadlines.discard(one)
    await asyncio.sleep(30)
    assert watched.over.keys() == dues.keys() - gone
    assert all(abs(at - dues[one]) < 1e-5 for one, at in watched.over.items())


@virtually
async def test_deadlines_in_order_share_a_timer() -> None:
    watched, loop = Watched(), asyncio.get_running_loop()
    call_at = Mock(wraps=loop.call_at)
    loop.call_at = call_at  # type: ignore[method-assign]
    for n in range(1000):
        one = entry(str(n))
        watched.deadlines.add(one, 10.0)
        watched.deadlines.discard(one)
    assert call_at.call_count == 1
    late = entry("late")
    watched.deadlines.add(late, 15.0)
    await asyncio.sleep(20)
    assert watched.over == {late: 15.0}


@virtually
async def test_a_deadline_that_has_passed_is_noticed_at_once() -> None:
    watched = Watched()
    await asyncio.sleep(5)
    late, later = entry("late"), entry("later")
    watched.deadlines.add(late, 4.0)
    watched.deadlines.add(later, 3.0)
    await asyncio.sleep(0.001)
    assert watched.over.keys() == {late, later}


@virtually
async def test_what_was_cleared_never_expires() -> None:
    watched = Watched()
    for n in range(3):
        watched.deadlines.add(entry(str(n)), 9.0 - n)
    watched.deadlines.clear()
    await asyncio.sleep(20)
    assert watched.over == {}
    again = entry("again")
    watched.deadlines.add(again, 21.0)
    await asyncio.sleep(5)
    assert watched.over == {again: 21.0}

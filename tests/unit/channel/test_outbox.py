"""The outbox: order, both bounds, and what becomes of failed and withdrawn entries."""

from fakes import entry
from hypothesis import given
from hypothesis import strategies as st

from mqtransport.channel.outbox import Entry, Outbox


def outbox(*entries: Entry, max_messages: int = 100, max_bytes: int = 10_000) -> Outbox:
    box = Outbox(max_messages=max_messages, max_bytes=max_bytes)
    for one in entries:
        box.add(one)
    return box


def take(box: Outbox, max_messages: int = 10, max_bytes: int = 1000) -> list[Entry]:
    return box.take_batch(max_messages=max_messages, max_bytes=max_bytes)


def test_messages_leave_in_the_order_in_which_they_came() -> None:
    entries = [entry(str(n)) for n in range(25)]
    box = outbox(*entries)
    assert [take(box), take(box), take(box), take(box)] == [
        entries[:10],
        entries[10:20],
        entries[20:],
        [],
    ]
    assert len(box) == 25
    assert all(one.in_flight for one in entries)


def test_a_batch_is_bounded_by_bytes() -> None:
    entries = [entry(str(n), 400) for n in range(3)]
    box = outbox(*entries)
    assert [take(box), take(box)] == [entries[:2], entries[2:]]


def test_a_batch_may_be_filled_to_the_last_byte() -> None:
    entries = [entry("1", 600), entry("2", 400)]
    assert take(outbox(*entries)) == entries


def test_a_message_above_the_batchs_bytes_travels_alone() -> None:
    small, big, last = entry("1"), entry("2", 5000), entry("3")
    box = outbox(small, big, last)
    assert [take(box), take(box), take(box)] == [[small], [big], [last]]


def test_an_isolated_message_travels_alone() -> None:
    first, alone, last = entry("1"), entry("2"), entry("3")
    alone.alone = True
    box = outbox(first, alone, last)
    assert [take(box), take(box), take(box)] == [[first], [alone], [last]]


def test_entries_put_back_come_first_in_their_old_order() -> None:
    entries = [entry(str(n)) for n in range(15)]
    box = outbox(*entries)
    batch = take(box)
    box.put_back(batch)
    assert not any(one.in_flight for one in entries)
    assert take(box) == entries[:10]


def test_an_entry_put_later_is_not_taken_before_its_time() -> None:
    one = entry("1")
    box = outbox(one)
    take(box)
    box.put_later(one, 5.0)
    assert (box.ready(4.9), box.next_due()) == (0, 5.0)
    assert take(box) == []
    assert (box.ready(5.0), box.next_due()) == (1, None)
    assert take(box) == [one]


def test_room_is_bounded_by_count_and_bytes_and_one_alone_always_fits() -> None:
    box = outbox(max_messages=2, max_bytes=100)
    assert box.has_room(10_000)
    box.add(entry("1", 60))
    assert box.has_room(40)
    assert not box.has_room(41)
    box.add(entry("2", 1))
    assert not box.has_room(1)


def test_a_removed_message_gives_its_bytes_back_while_others_are_held() -> None:
    gone = entry("gone", 50)
    box = outbox(entry("stays", 50), gone, max_bytes=100)
    assert not box.has_room(1)
    box.remove(gone)
    assert box.has_room(50)
    assert not box.has_room(51)


def test_messages_in_flight_take_room() -> None:
    box = outbox(entry("1"), max_messages=1)
    take(box)
    assert not box.has_room(1)


def test_a_removed_message_is_never_taken_and_gives_its_room_back() -> None:
    waiting, later, flying = entry("1"), entry("2"), entry("3")
    box = outbox(later, flying, waiting, max_messages=3, max_bytes=30)
    take(box, max_messages=2)
    box.put_later(later, 1.0)
    for one in (waiting, later, flying):
        box.remove(one)
        box.remove(one)
        assert one not in box
    box.put_back([flying])
    box.put_later(flying, 0.0)
    box.ready(2.0)
    assert take(box) == []
    assert len(box) == 0
    assert box.has_room(30)


def test_ready_is_never_zero_while_a_message_could_be_sent() -> None:
    first, second = entry("1"), entry("2")
    box = outbox(first, second)
    box.remove(first)
    assert box.ready(0.0) >= 1
    assert take(box) == [second]


def test_withdrawn_messages_do_not_pile_up_behind_those_that_wait() -> None:
    box = outbox(*(entry(f"buffered-{n}") for n in range(10)))
    for n in range(10_000):
        one = entry(str(n))
        box.add(one)
        box.remove(one)
    assert len(box._ready) < 1000


@given(
    steps=st.lists(st.sampled_from(["add", "take", "back", "later", "confirm", "withdraw"])),
    source=st.randoms(use_true_random=False),
)
def test_no_message_is_lost_or_taken_twice(steps: list[str], source: object) -> None:
    pick = source.choice  # type: ignore[attr-defined]
    box = outbox()
    alive: set[Entry] = set()
    flying: set[Entry] = set()
    now = 0.0
    for number, step in enumerate(steps):
        now += 1.0
        box.ready(now)
        if step == "add":
            one = entry(str(number), pick([1, 300, 2000]))
            box.add(one)
            alive.add(one)
        elif step == "take":
            batch = take(box, max_messages=3)
            assert flying.isdisjoint(batch)
            assert alive.issuperset(batch)
            assert len(batch) <= 1 or sum(one.size_bytes for one in batch) <= 1000
            flying.update(batch)
        elif step == "withdraw" and alive:
            one = pick(sorted(alive, key=lambda e: e.message.id))
            box.remove(one)
            alive.discard(one)
        elif flying:
            one = pick(sorted(flying, key=lambda e: e.message.id))
            flying.discard(one)
            if step == "back":
                box.put_back([one])
            elif step == "later":
                box.put_later(one, now + 2)
            else:
                one.in_flight = False
                box.remove(one)
                alive.discard(one)
        assert len(box) == len(alive)
        assert set(box) == alive
    box.put_back(sorted(flying, key=lambda e: e.message.id))
    box.ready(now + 10)
    left: set[Entry] = set()
    while batch := take(box):
        assert left.isdisjoint(batch)
        left.update(batch)
    assert left == alive

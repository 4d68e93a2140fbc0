"""The outbox of an ordered queue: within a group nothing overtakes, whatever goes wrong."""

from collections import defaultdict
from random import Random

from fakes import entry
from hypothesis import given
from hypothesis import strategies as st

from mqtransport.channel.ordered_outbox import OrderedOutbox
from mqtransport.channel.outbox import Entry


def outbox(*entries: Entry) -> OrderedOutbox:
    box = OrderedOutbox(max_messages=100, max_bytes=10_000)
    for one in entries:
        box.add(one)
    return box


def take(box: OrderedOutbox, max_messages: int = 10, max_bytes: int = 1000) -> list[Entry]:
    return box.take_batch(max_messages=max_messages, max_bytes=max_bytes)


def of(group: str, count: int) -> list[Entry]:
    return [entry(f"{group}{n}", group=group) for n in range(count)]


def confirm(box: OrderedOutbox, one: Entry) -> None:
    one.in_flight = False
    box.remove(one)


def test_of_each_group_one_message_travels_at_a_time() -> None:
    a, b = of("a", 3), of("b", 2)
    box = outbox(*a, *b)
    assert box.ready(0) == 2
    assert take(box) == [a[0], b[0]]
    assert take(box) == []
    confirm(box, b[0])
    assert take(box) == [b[1]]
    confirm(box, a[0])
    assert take(box) == [a[1]]


def test_many_groups_fill_a_batch() -> None:
    entries = [entry(str(n), group=str(n)) for n in range(25)]
    box = outbox(*entries)
    assert [len(take(box)), len(take(box)), len(take(box))] == [10, 10, 5]


def test_a_failed_request_is_sent_again_before_the_next_of_its_groups() -> None:
    a, b = of("a", 2), of("b", 2)
    box = outbox(*a, *b)
    box.put_back(take(box))
    assert take(box) == [a[0], b[0]]


def test_an_entry_that_waits_holds_its_group_back_and_no_other() -> None:
    a, b = of("a", 2), of("b", 2)
    box = outbox(*a, *b)
    take(box)
    box.put_later(a[0], 5.0)
    confirm(box, b[0])
    assert box.ready(4.9) == 1
    assert take(box) == [b[1]]
    assert box.next_due() == 5.0
    assert box.ready(5.0) == 1
    assert take(box) == [a[0]]


def test_a_message_withdrawn_in_flight_holds_its_group_until_the_request_ends() -> None:
    a = of("a", 2)
    box = outbox(*a)
    take(box)
    box.remove(a[0])  # its caller is gone
    assert len(box) == 1
    assert take(box) == []
    confirm(box, a[0])  # and now its answer is here
    assert take(box) == [a[1]]


def test_a_message_withdrawn_in_flight_whose_request_fails_is_not_sent_again() -> None:
    for ending in ("back", "later"):
        a = of("a", 2)
        box = outbox(*a)
        batch = take(box)
        box.remove(a[0])
        if ending == "back":
            box.put_back(batch)
        else:
            box.put_later(a[0], 99.0)
        assert box.ready(0) == 1
        assert take(box) == [a[1]]


def test_a_withdrawn_message_makes_room_for_the_next() -> None:
    a = of("a", 2)
    box = outbox(*a)
    box.remove(a[0])
    assert take(box) == [a[1]]


def test_a_group_of_withdrawn_messages_is_forgotten() -> None:
    a, b = of("a", 2), of("b", 1)
    box = outbox(*a, *b)
    for one in a:
        box.remove(one)
    assert take(box) == b
    assert len(box) == 1


def test_bytes_bound_a_batch_and_a_big_message_travels_alone() -> None:
    entries = [entry(str(n), 400, group=str(n)) for n in range(3)] + [entry("big", 5000, "big")]
    box = outbox(*entries)
    assert [take(box), take(box), take(box)] == [entries[:2], [entries[2]], [entries[3]]]


def test_an_isolated_message_travels_alone() -> None:
    entries = [entry(str(n), group=str(n)) for n in range(3)]
    entries[1].alone = True
    box = outbox(*entries)
    assert [take(box), take(box), take(box)] == [[one] for one in entries]


@given(st.integers(0, 10_000))
def test_whatever_happens_each_group_arrives_in_order(seed: int) -> None:
    random = Random(seed)
    entries = [entry(f"{n}", group=random.choice("abc")) for n in range(30)]
    waiting, flights = list(entries), []
    box = OrderedOutbox(max_messages=100, max_bytes=10_000)
    arrived: defaultdict[str, list[int]] = defaultdict(list)
    withdrawn: set[Entry] = set()
    now = 0.0
    for _ in range(2_000):
        now += 1
        box.ready(now)
        match random.randrange(4):
            case 0 if waiting:
                box.add(waiting.pop(0))
            case 1:
                batch = take(box, random.randint(1, 3))
                groups = [one.message.group for one in batch]
                assert len(set(groups)) == len(groups)
                assert not {one.message.group for flight in flights for one in flight} & set(groups)
                flights += [batch] if batch else []
            case 2 if flights:
                landed = flights.pop(random.randrange(len(flights)))
                if random.random() < 0.3:
                    box.put_back(landed)
                    continue
                for one in landed:
                    if random.random() < 0.3:
                        box.put_later(one, now + random.randint(0, 5))
                        continue
                    if one not in withdrawn:
                        arrived[one.message.group or ""].append(int(one.message.id[2:]))
                    confirm(box, one)
            case 3 if random.random() < 0.05 and len(box):
                gone = random.choice(list(box))
                withdrawn.add(gone)
                box.remove(gone)
        if not waiting and not flights and not len(box):
            break
    assert not len(box), "everything was sent"
    for numbers in arrived.values():
        assert numbers == sorted(numbers)
    assert sum(map(len, arrived.values())) + len(withdrawn) >= len(entries)

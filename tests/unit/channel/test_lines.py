"""Lines: who may run, who waits behind whom, and what is remembered of the done."""

from fakes import held

from mqtransport.channel.in_hand import Held, Outcome
from mqtransport.channel.lines import MAX_REMEMBERED, Handled, Lines


def group_of(count: int, group: str = "a") -> list[Held]:
    return [held(f"{group}{n}", group=group) for n in range(count)]


def joined(lines: Lines, *members: Held) -> list[bool]:
    return [lines.join(one) for one in members]


def test_the_first_of_a_group_may_run_and_the_others_wait() -> None:
    lines = Lines(ordered=True)
    assert joined(lines, *group_of(3)) == [True, False, False]


def test_groups_do_not_wait_for_each_other() -> None:
    lines = Lines(ordered=True)
    assert joined(lines, *group_of(1, "a"), *group_of(1, "b")) == [True, True]


def test_on_a_standard_queue_a_group_is_no_line() -> None:
    lines = Lines(ordered=False)
    assert joined(lines, *group_of(3)) == [True, True, True]


def test_a_second_delivery_of_the_same_message_waits_behind_the_first() -> None:
    lines = Lines(ordered=False)
    first, again = held("1"), held("1")
    again.raw = again.raw._replace(receipt="another")
    assert joined(lines, first, again) == [True, False]
    assert lines.leave(first) is again


def test_the_next_follows_when_the_first_leaves() -> None:
    lines = Lines(ordered=True)
    one, two, three = group_of(3)
    joined(lines, one, two, three)
    assert lines.leave(one) is two
    assert lines.leave(two) is three
    assert lines.leave(three) is None


def test_one_that_leaves_from_the_middle_lets_nobody_run() -> None:
    lines = Lines(ordered=True)
    one, two, three = group_of(3)
    joined(lines, one, two, three)
    assert lines.leave(two) is None
    assert lines.behind(one) == [three]
    assert lines.leave(one) is three


def test_leaving_twice_lets_nobody_run_twice() -> None:
    lines = Lines(ordered=True)
    one, two = group_of(2)
    joined(lines, one, two)
    assert lines.leave(one) is two
    assert lines.leave(one) is None


def test_a_cut_returns_those_behind_in_order_and_a_new_line_begins() -> None:
    lines = Lines(ordered=True)
    one, two, three, four = group_of(4)
    joined(lines, one, two, three)
    assert lines.cut(one) == [two, three]
    assert lines.leave(one) is None
    # It is here again although the answers to the releases are not.
    assert lines.join(four)
    assert lines.leave(two) is None
    assert lines.behind(two) == []


def test_a_cut_in_the_middle_leaves_those_before_it() -> None:
    lines = Lines(ordered=True)
    one, two, three = group_of(3)
    joined(lines, one, two, three)
    assert lines.cut(two) == [three]
    assert lines.behind(one) == []


def test_a_message_without_a_group_is_a_line_of_its_own() -> None:
    lines = Lines(ordered=True)
    assert joined(lines, held("1"), held("2")) == [True, True]


def test_what_is_done_is_remembered_until_its_time() -> None:
    handled = Handled()
    handled.add("id-1", Outcome.ACKED, 30.0)
    assert handled.recall("id-1", 29.9) is Outcome.ACKED
    assert handled.recall("id-2", 29.9) is None
    assert handled.recall("id-1", 30.0) is None
    assert len(handled) == 0


def test_an_old_memory_does_not_hide_a_newer_one_behind_a_longer_one() -> None:
    handled = Handled()
    handled.add("long", Outcome.ACKED, 100.0)
    handled.add("short", Outcome.DEAD_LETTERED, 10.0)
    assert handled.recall("short", 20.0) is None
    assert handled.recall("long", 20.0) is Outcome.ACKED


def test_at_most_ten_thousand_are_remembered_the_latest() -> None:
    handled = Handled()
    for number in range(MAX_REMEMBERED + 5):
        handled.add(str(number), Outcome.ACKED, 30.0)
    assert len(handled) == MAX_REMEMBERED == 10_000
    assert handled.recall("4", 0.0) is None
    assert handled.recall("5", 0.0) is Outcome.ACKED

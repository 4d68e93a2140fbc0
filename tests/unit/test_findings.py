"""What is said of a queue that does not fit the code, and of one that does."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from mqtransport import Backoff, Finding, Retry
from mqtransport.broker import QueueInfo
from mqtransport.channel import ReceiveOptions
from mqtransport.findings import (
    Described,
    about_queue,
    about_receiving,
    about_sending,
    by_severity,
)

MIB = 1_048_576
DAY_S = 86_400.0
LEASE_S = 43_200.0
HEALTHY = QueueInfo(
    max_message_bytes=MIB,
    lease_s=30.0,
    max_receive_count=20,
    dead_letter_queue="shop-orders-dlq",
    retention_s=4 * DAY_S,
    fifo=False,
    delay_s=0.0,
)
DEAD = Described(
    "orders-dlq",
    "https://sqs.eu-west-1.amazonaws.com/123456789012/shop-orders-dlq",
    QueueInfo(max_message_bytes=MIB, lease_s=30.0, retention_s=14 * DAY_S, fifo=False, delay_s=0.0),
)


def queue(**facts: Any) -> Described:
    return Described("orders", "shop-orders", replace(HEALTHY, **facts))


def dead(**facts: Any) -> Described:
    return replace(DEAD, info=replace(DEAD.info, **facts))


def received(
    source: Described,
    options: ReceiveOptions | None = None,
    *,
    dead_letters: Described | None = DEAD,
    redrive: Described | None = DEAD,
    is_dead_letter_queue: bool = False,
) -> list[Finding]:
    return about_receiving(
        source,
        options or ReceiveOptions(),
        dead_letters=dead_letters,
        redrive=redrive,
        is_dead_letter_queue=is_dead_letter_queue,
        max_lease_s=LEASE_S,
    )


def brief(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.severity, one.code) for one in found]


def test_of_a_healthy_setup_nothing_is_said() -> None:
    assert received(queue()) == []
    assert about_queue(queue()) == []
    assert about_sending(queue(), max_message_bytes=MIB) == []


def test_of_queues_that_nothing_is_told_of_nothing_is_said() -> None:
    source, silent = Described("orders", "orders"), Described("dlq", "dlq")
    assert received(source, dead_letters=silent, redrive=silent) == []
    assert received(source, dead_letters=None, redrive=None) == []
    assert about_queue(source) == []
    assert about_sending(source, max_message_bytes=MIB) == []


@pytest.mark.parametrize("fact", ["max_message_bytes", "retention_s", "fifo"])
def test_of_a_fact_that_only_one_queue_tells_nothing_is_said(fact: str) -> None:
    other = dead(**{fact: None})
    assert received(queue(), dead_letters=other, redrive=other) == []
    assert "dead_letter_retention" not in {one.code for one in received(queue(**{fact: None}))}


@pytest.mark.parametrize(
    ("count", "severity"),
    [(1, "error"), (4, "error"), (5, "warning"), (14, "warning"), (15, None), (20, None)],
)
def test_a_redrive_policy_must_not_pre_empt_the_retries(count: int, severity: str | None) -> None:
    found = received(queue(max_receive_count=count))
    assert brief(found) == ([(severity, "max_receive_count")] if severity else [])
    for one in found:
        assert f"its maxReceiveCount is {count}" in one.text
        assert "Set it to 20" in one.text


def test_a_redrive_policy_that_is_the_only_way_out_may_act_once_the_attempts_are_made() -> None:
    def codes(count: int) -> list[tuple[str, str]]:
        return brief(received(queue(max_receive_count=count), dead_letters=None))

    assert codes(5) == [("info", "only_redrive")]
    assert codes(4) == [("error", "max_receive_count"), ("info", "only_redrive")]


def test_max_deliveries_of_the_code_counts_not_the_default() -> None:
    options = ReceiveOptions(max_deliveries=30)
    (found,) = received(queue(max_receive_count=20), options)
    assert "below max_deliveries (30)" in found.text
    assert "Set it to 35" in found.text


def test_a_queue_without_any_dead_letter_queue() -> None:
    plain = queue(dead_letter_queue=None, max_receive_count=None)
    (found,) = received(plain, dead_letters=None, redrive=None)
    assert (found.severity, found.code) == ("warning", "no_dead_letter")
    assert "after 4 days" in found.text


def test_a_dead_letter_queue_needs_none_of_its_own() -> None:
    plain = queue(dead_letter_queue=None, max_receive_count=None)
    assert received(plain, dead_letters=None, redrive=None, is_dead_letter_queue=True) == []


def test_no_redrive_policy_behind_the_librarys_dead_letters() -> None:
    plain = queue(dead_letter_queue=None, max_receive_count=None)
    assert brief(received(plain, redrive=None)) == [("info", "no_redrive")]


def test_two_dead_letter_queues() -> None:
    (found,) = received(queue(dead_letter_queue="another"), redrive=None)
    assert (found.severity, found.code) == ("info", "two_dead_letter_queues")
    assert "'orders-dlq'" in found.text
    assert "'another'" in found.text


@pytest.mark.parametrize(
    ("source_days", "dead_days", "told"),
    [(4, 4, True), (4, 3, True), (4, 5, False), (14, 14, False), (14, 13, True)],
)
def test_a_dead_letter_queue_should_keep_messages_longer_than_its_source(
    source_days: int, dead_days: int, told: bool
) -> None:
    target = dead(retention_s=dead_days * DAY_S)
    found = received(queue(retention_s=source_days * DAY_S), redrive=target, dead_letters=target)
    assert brief(found) == ([("warning", "dead_letter_retention")] if told else [])


def test_the_librarys_copies_are_new_so_only_a_redrive_policy_needs_the_retention() -> None:
    short = dead(retention_s=DAY_S)
    assert received(queue(), dead_letters=short, redrive=None) == []


def test_ordered_queues_reset_the_age_of_a_message_that_is_moved() -> None:
    info = replace(HEALTHY, fifo=True, dead_letter_queue="dlq.fifo")
    source = Described("orders", "orders.fifo", info)
    target = Described("dlq", "dlq.fifo", replace(DEAD.info, fifo=True, retention_s=60.0))
    assert received(source, dead_letters=target, redrive=target) == []


def test_a_redrive_policy_to_a_queue_that_is_gone() -> None:
    gone = Described("dlq", "dlq", missing="no such queue")
    (found,) = received(queue(), redrive=gone)
    assert (found.severity, found.code) == ("warning", "redrive_missing")
    assert "no such queue" in found.text


@pytest.mark.parametrize(("source", "target"), [(True, False), (False, True)])
def test_an_ordered_and_a_standard_queue_do_not_go_together(source: bool, target: bool) -> None:
    found = received(queue(fifo=source), dead_letters=dead(fifo=target))
    assert brief(found) == [("error", "dead_letter_kind")]


@pytest.mark.parametrize(
    ("physical", "fifo", "told"),
    [
        ("orders", True, True),
        ("orders.fifo", False, True),
        ("orders.fifo", True, False),
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo", True, False),
    ],
)
def test_the_name_must_tell_whether_a_queue_is_ordered(
    physical: str, fifo: bool, told: bool
) -> None:
    found = about_queue(Described("orders", physical, replace(HEALTHY, fifo=fifo)))
    assert brief(found) == ([("error", "kind")] if told else [])


def test_a_dead_letter_queue_that_takes_less_than_its_source() -> None:
    small = dead(max_message_bytes=262_144)
    (found,) = received(queue(), dead_letters=small)
    assert (found.severity, found.code) == ("warning", "dead_letter_size")
    assert received(queue(max_message_bytes=262_144), dead_letters=small) == []
    assert received(queue(max_message_bytes=1024), dead_letters=small) == []


def test_a_queue_that_takes_less_than_the_broker_could() -> None:
    (found,) = about_sending(queue(max_message_bytes=262_144), max_message_bytes=MIB)
    assert (found.severity, found.code) == ("info", "size")
    assert "262144" in found.text


def test_retries_that_outlast_the_retention() -> None:
    def codes(attempts: int, kept_s: float) -> list[tuple[str, str]]:
        retry = Retry(max_attempts=attempts, backoff=Backoff(first_s=1, max_s=900))
        options = ReceiveOptions(retry=retry, max_deliveries=10**9)
        found = received(queue(retention_s=kept_s, max_receive_count=10**9), options)
        return [one for one in brief(found) if one[1] == "retention"]

    assert codes(5, 15) == [("warning", "retention")]  # 1 + 2 + 4 + 8
    assert codes(5, 16) == []
    assert codes(1, 1) == []
    assert codes(500, 4 * DAY_S) == [("warning", "retention")]
    assert codes(10**9, 14 * DAY_S) == [("warning", "retention")]


def test_what_cannot_be_done_within_the_longest_lease() -> None:
    assert received(queue(), ReceiveOptions(max_processing_s=LEASE_S - 900)) == []
    found = received(queue(), ReceiveOptions(max_processing_s=LEASE_S - 899))
    assert brief(found) == [("warning", "lease_limit")]


def test_a_visibility_timeout_that_has_no_effect() -> None:
    (found,) = received(queue(lease_s=300.0))
    assert (found.severity, found.code) == ("info", "lease")
    assert "300 s" in found.text
    assert received(queue(lease_s=31.0), ReceiveOptions(lease_s=30.5)) == []  # as it was created


def test_a_queue_with_a_delay_of_its_own() -> None:
    (found,) = about_queue(queue(delay_s=60.0))
    assert (found.severity, found.code) == ("info", "delay")
    assert "60 s" in found.text


def test_of_a_queue_that_is_gone_only_that_is_said() -> None:
    gone = Described("orders", "orders", missing="no such queue")
    assert about_queue(gone) == [Finding("error", "orders", "missing", "no such queue")]
    assert received(gone) == []


def test_errors_come_first_and_the_order_is_kept_otherwise() -> None:
    given = [
        Finding("info", "a", "one", ""),
        Finding("warning", "b", "two", ""),
        Finding("error", "c", "three", ""),
        Finding("info", "a", "four", ""),
        Finding("error", "b", "five", ""),
    ]
    assert [one.code for one in by_severity(given)] == ["three", "five", "two", "one", "four"]


def test_a_finding_is_a_value_and_reads_as_a_line_of_a_log() -> None:
    finding = Finding("error", "orders", "missing", "no such queue")
    assert str(finding) == "queue 'orders': no such queue [missing]"
    with pytest.raises(FrozenInstanceError):
        finding.text = ""  # type: ignore[misc]

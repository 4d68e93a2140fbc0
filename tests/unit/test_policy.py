"""Retries: the bounds of the jitter, and what follows from which failure."""

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtransport.errors import (
    ConsumeMessageError,
    DeliveryLimitError,
    HandlerTimeoutError,
    InvalidMessageError,
    MalformedMessageError,
    RetryMessage,
    UndeliverableError,
    UnknownMessageError,
    UsageError,
)
from mqtransport.policy import (
    Backoff,
    MoveToDeadLetters,
    Release,
    Retry,
    after_failure,
    describe_error,
)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Retry(max_attempts="3"), "max_attempts must be a whole number, not str"),
        (lambda: Retry(max_attempts=2.5), "max_attempts must be a whole number, not float"),
        (lambda: Retry(backoff=1.0), r"backoff must be a Backoff\(...\), not float"),
        (lambda: Backoff(first_s="1"), "first_s must be a number, not str"),
        (lambda: Backoff(max_s=None), "max_s must be a number, not NoneType"),
        (lambda: RetryMessage(delay_s="5"), "a number of seconds, 0 to 39600, not '5'"),
    ],
)
def test_a_policy_of_a_wrong_type_is_a_usage_error(make: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()


@given(failures=st.integers(1, 10**6), seed=st.integers())
def test_a_delay_lies_between_zero_and_its_ceiling(failures: int, seed: int) -> None:
    backoff = Backoff()
    delay_s = backoff.delay_s(failures, Random(seed))
    assert 0 <= delay_s <= backoff.ceiling_s(failures) <= backoff.max_s


def test_the_jitter_is_full() -> None:
    source = Random(1)
    delays = [Backoff(first_s=8.0, max_s=8.0).delay_s(1, source) for _ in range(2000)]
    quarters = [sum(1 for one in delays if q * 2 <= one < q * 2 + 2) for q in range(4)]
    assert all(400 < count < 600 for count in quarters)


def test_the_ceiling_doubles_up_to_its_maximum() -> None:
    ceilings = [Backoff().ceiling_s(n) for n in range(1, 13)]
    assert ceilings == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


def test_a_million_failures_overflow_nothing() -> None:
    assert Backoff().ceiling_s(10**6) == 900.0


def test_a_steep_factor_overflows_nothing() -> None:
    assert Backoff(factor=1e6).ceiling_s(10**6) == 900.0


@pytest.mark.parametrize(
    "values",
    [
        {"first_s": 0},
        {"first_s": -1},
        {"first_s": 2, "max_s": 1},
        {"factor": 0.5},
        {"first_s": math.nan},
        {"max_s": math.nan},
    ],
)
def test_an_impossible_backoff_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Backoff(**values)


def test_retry_needs_an_attempt_and_allows_three_deliveries_for_each() -> None:
    with pytest.raises(UsageError):
        Retry(max_attempts=0)
    assert Retry().max_attempts == 5
    assert Retry(max_attempts=4).max_deliveries == 12


def decide(error: BaseException, attempt: int = 1) -> Release | MoveToDeadLetters:
    return after_failure(error, attempt=attempt, retry=Retry(), random=Random(1))


@pytest.mark.parametrize("attempt", [1, 5, 100])
def test_a_retry_with_a_delay_is_released_for_that_delay_whatever_the_attempt(
    attempt: int,
) -> None:
    assert decide(RetryMessage(delay_s=42.5), attempt) == Release(42.5)
    assert decide(RetryMessage(delay_s=0), attempt) == Release(0)


def test_a_retry_without_a_delay_is_released_with_the_policys_backoff() -> None:
    delays = [decide(RetryMessage(), attempt) for attempt in (1, 10, 100)]
    for attempt, found in zip((1, 10, 100), delays, strict=True):
        assert isinstance(found, Release)
        assert 0 <= found.delay_s <= Backoff().ceiling_s(attempt)


@pytest.mark.parametrize("delay_s", [-1, -0.001])
def test_a_negative_retry_delay_is_a_usage_error(delay_s: float) -> None:
    with pytest.raises(UsageError):
        RetryMessage(delay_s=delay_s)


@pytest.mark.parametrize("delay_s", [math.nan, math.inf])
def test_a_retry_delay_that_is_no_time_is_a_usage_error(delay_s: float) -> None:
    with pytest.raises(UsageError):
        RetryMessage(delay_s=delay_s)


@pytest.mark.parametrize(
    "error",
    [
        ConsumeMessageError("no"),
        UndeliverableError("no"),
        MalformedMessageError("no"),
        UnknownMessageError("no"),
        InvalidMessageError("no"),
        DeliveryLimitError("no"),
    ],
)
def test_what_can_never_work_is_dead_lettered_at_once(error: Exception) -> None:
    assert decide(error, attempt=1) == MoveToDeadLetters(error)


@pytest.mark.parametrize("error", [ValueError("x"), HandlerTimeoutError("x"), SystemExit(1)])
def test_other_failures_are_retried_until_the_last_attempt(error: BaseException) -> None:
    for attempt in (1, 2, 3, 4):
        found = decide(error, attempt)
        assert isinstance(found, Release)
        assert 0 <= found.delay_s <= Backoff().ceiling_s(attempt)
    assert decide(error, 5) == MoveToDeadLetters(error)
    assert decide(error, 6) == MoveToDeadLetters(error)


def test_one_attempt_means_no_retry() -> None:
    error = ValueError("x")
    retry = Retry(max_attempts=1)
    found = after_failure(error, attempt=1, retry=retry, random=Random(1))
    assert found == MoveToDeadLetters(error)


def test_an_errors_text_is_one_short_printable_line() -> None:
    odd = ValueError("a\n b\t\x00c\ufffe\ud800 \U0001f600")
    assert describe_error(odd) == "a b ?c?? \U0001f600"
    assert describe_error(ValueError("x" * 500)) == "x" * 500
    long = describe_error(ValueError("x" * 501))
    assert len(long) == 500
    assert long.endswith("…")
    assert describe_error(ValueError()) == ""


def test_an_error_that_cannot_be_printed_is_described_all_the_same() -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert isinstance(describe_error(Unprintable()), str)

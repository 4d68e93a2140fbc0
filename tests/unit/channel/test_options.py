"""The knobs of the channels that are adjusted to each other."""

import pytest

from mqtransport.broker import DEFAULT_TIMEOUT_S
from mqtransport.channel.options import SendOptions
from mqtransport.policy import Backoff


@pytest.mark.parametrize(
    ("send_timeout_s", "given", "first_s", "max_s"),
    [
        (10, Backoff(0.2, 10), 0.2, 2.5),
        (0.4, Backoff(0.2, 10), 0.1, 0.1),
        (100, Backoff(1, 5), 1, 5),
    ],
)
def test_a_send_that_comes_after_an_outage_finds_no_pause_beyond_a_quarter_of_its_time(
    send_timeout_s: float, given: Backoff, first_s: float, max_s: float
) -> None:
    backoff = SendOptions(send_timeout_s=send_timeout_s, backoff=given).backoff
    assert (backoff.first_s, backoff.max_s) == (pytest.approx(first_s), pytest.approx(max_s))


def test_a_send_has_time_for_a_second_try_after_a_call_that_hangs() -> None:
    assert SendOptions().send_timeout_s >= 2 * DEFAULT_TIMEOUT_S

"""The knobs of the channels that are adjusted to each other."""

from typing import Any

import pytest

from mqtransport.broker import DEFAULT_TIMEOUT_S
from mqtransport.channel.options import ReceiveOptions, SendOptions
from mqtransport.errors import UsageError
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


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        (ReceiveOptions, {"concurrency": "3"}, "concurrency must be a whole number, not str"),
        (ReceiveOptions, {"concurrency": True}, "concurrency must be a whole number, not bool"),
        (ReceiveOptions, {"lease_s": "30"}, "lease_s must be a number, not str"),
        (ReceiveOptions, {"max_deliveries": "9"}, "max_deliveries must be a whole number"),
        (ReceiveOptions, {"retry": 3}, r"retry must be a Retry\(...\), not int"),
        (ReceiveOptions, {"backoff": 3}, r"backoff must be a Backoff\(...\), not int"),
        (SendOptions, {"send_timeout_s": "5"}, "send_timeout_s must be a number, not str"),
        (SendOptions, {"max_buffered": 1.5}, "max_buffered must be a whole number, not float"),
        (SendOptions, {"backoff": None}, r"backoff must be a Backoff\(...\), not NoneType"),
    ],
)
def test_an_option_of_a_wrong_type_is_a_usage_error(kind: Any, given: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        kind(**given)

"""The helpers that other tests rely on fail when they should, under ``python -O`` too."""

import pytest

from mqtransport.channel import Counts
from tests.contract.support import check_balanced


@pytest.mark.parametrize("counts", [Counts(received=1), Counts(received=1, in_hand=1)])
def test_counts_that_do_not_add_up_or_are_not_settled_fail(counts: Counts) -> None:
    with pytest.raises(AssertionError):
        check_balanced(counts)

import time
from pathlib import Path
from random import Random

import pytest

from tests.durability.campaign import Journal, run_round

pytestmark = pytest.mark.process


@pytest.mark.timeout(1800)
def test_what_was_confirmed_outlives_every_kill(
    tmp_path: Path, full: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Two senders with six tasks each, and sometimes a taker; each round kills all."""
    path = tmp_path / "queues.db"
    kills, confirmed = (200, 100_000) if full else (9, 1000)
    random, journal, start = Random(), Journal(), time.monotonic()
    round = 0
    while journal.kills < kills or len(journal.confirmed) < confirmed:
        # Without a taker in every other round, since what was taken is not looked for.
        run_round(path, journal, random, prefix=f"{round}", takers=round % 2)
        journal.compare(path)
        assert journal.lost == set(), str(journal)
        assert caplog.records == [], "a start after a kill is nothing to report"
        round += 1
    print(f"{journal} in {time.monotonic() - start:.0f} s")

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.lock import alone

TRY = """
import sys
from pathlib import Path
from benchmarks.lock import alone
with alone(Path(sys.argv[1]), wait_s=float(sys.argv[2])):
    print("in")
"""


def attempt(lock: Path, *, descriptors: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", TRY, str(lock), "0.1"]
    return subprocess.run(
        command, pass_fds=descriptors, capture_output=True, text=True, timeout=30, check=True
    )


@pytest.mark.process
def test_a_lock_that_is_never_given_back_stops_nobody_for_ever(tmp_path: Path) -> None:
    with alone(lock := tmp_path / "lock"):
        done = attempt(lock)
    assert done.stdout == "in\n"
    assert "was not free within" in done.stderr
    assert attempt(lock).stderr == ""


@pytest.mark.process
def test_who_is_started_under_the_lock_does_not_wait_for_itself(tmp_path: Path) -> None:
    with (lock := tmp_path / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert attempt(lock, descriptors=(held.fileno(),)).stderr == ""

"""Calls of the operating system that fail, injected by libfiu (Debian: fiu-utils)."""

import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.durability.support import kill, said, stored
from tests.processes.support import ROOT, clean_environment

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        shutil.which("fiu-run") is None,
        reason="disk errors need libfiu; with Debian: apt-get install fiu-utils",
    ),
]

EIO, ENOSPC = 5, 28


@pytest.mark.parametrize(
    ("call", "error", "probability"),
    [
        ("posix/io/sync/*", EIO, 0.3),
        ("posix/io/rw/pwrite", EIO, 0.05),
        ("posix/io/rw/pwrite", ENOSPC, 0.05),
        ("posix/io/rw/pread", EIO, 0.05),
    ],
    ids=["sync", "write", "no space", "read"],
)
def test_a_send_raises_or_is_there_whatever_the_disk_does(
    tmp_path: Path, full: bool, call: str, error: int, probability: float
) -> None:
    path, control = tmp_path / "queues.db", str(tmp_path / "fiu")
    command = ["fiu-run", "-x", "-f", control, sys.executable, "-m", "tests.durability.faulty"]
    with subprocess.Popen(
        [*command, str(path), "5000" if full else "500"],
        env=clean_environment(),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pipesize=1 << 20,
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            fault = f"enable_random name={call},probability={probability},failinfo={error}"
            subprocess.run(
                ["fiu-ctrl", "-f", control, "-c", fault, str(process.pid)], check=True, timeout=30
            )
            process.stdin.write("\n")
            process.stdin.flush()
            process.wait(timeout=100)
            told = process.stderr.read()
            lines = said(process).splitlines()
        finally:
            kill(process)
    assert process.returncode == 0, told

    heard = defaultdict(set)
    for line in lines:
        if line:
            kind, _, id = line.partition(" ")
            heard[kind].add(id)
    found = {body.split(" ")[0] for body in stored(path)}
    counts = Counter({kind: len(ids) for kind, ids in heard.items()})
    print(f"\n{call} {probability}: {dict(counts)}")
    assert heard["sent"] - heard["taken"] - found == set(), "confirmed and lost"
    assert heard["refused"] & (heard["taken"] | found) == set(), "refused, and there"
    assert counts["sent"] > 50, "it did not go on after errors"
    assert counts["unknown"] + counts["refused"] + counts["failed"] > 0, "no fault was felt"

"""Puts known defects back, one at a time, and requires that the suite notices each.

Usage: ``scripts/defects [WORD ...]``, with words only the defects whose names hold one of them.
Everything happens in a copy; a defect that stays green, or that no longer fits the code, is an
error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.defects import DEFECTS, ROOT
from tests.defects.defect import Defect, RottenDefectError

COPIED = ("mqtransport", "fastapi_mq", "tests", "pyproject.toml")

AT_A_TIME = 2
"""Runs at a time: the tests named are bound by the processor, and CI has two."""

TEST_TIMEOUT_S = 20
"""Longest run of one test on broken code; the slowest waits 15 s for what never comes."""

RUN_TIMEOUT_S = 40.0
"""Longest run of pytest on broken code, should it not even hear pytest's own time-out."""

SOUND_TIMEOUT_S = 120.0
"""Longest run of all named tests on sound code."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a run showed.

    Attributes:
        caught: whether the defect was noticed.
        what: the first test that failed, or what else happened.
        seconds: how long it took.
    """

    caught: bool
    what: str
    seconds: float


def main(words: list[str]) -> int:
    """Try the defects whose names hold one of the words; return the exit status."""
    chosen = [one for one in DEFECTS if not words or any(word in one.name for word in words)]
    if not chosen:
        print(f"no defect is named so: {' '.join(words)}", file=sys.stderr)
        return 1
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="defects-") as folder:
        sound = Path(folder, "sound")
        copy(ROOT, sound)
        if not passes(sound, chosen):
            return 1
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            findings = list(pool.map(partial(try_defect, sound), chosen))
    width = max(len(one.name) for one in chosen)
    print(f"{'defect':{width}} | what turned red (the first test) | seconds")
    for defect, found in zip(chosen, findings, strict=True):
        print(f"{defect.name:{width}} | {found.what} | {found.seconds:.1f}")
    missed = [defect for defect, found in zip(chosen, findings, strict=True) if not found.caught]
    took_s = time.monotonic() - started
    print(f"{len(chosen)} defects, {len(missed)} of them not noticed, {took_s:.0f} s")
    return 1 if missed else 0


def copy(source: Path, target: Path) -> None:
    """Copy what the tests need; compiled files travel along, so that little is compiled anew."""
    target.mkdir()
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        else:
            shutil.copy2(source / name, target / name)


def passes(sound: Path, chosen: list[Defect]) -> bool:
    """Whether the named tests pass on the code as it is, and every defect fits it."""
    rotten = False
    for defect in chosen:
        try:
            defect.broken((sound / defect.file).read_text())
        except (RottenDefectError, OSError) as error:
            print(error, file=sys.stderr)
            rotten = True
    if rotten:
        return False
    tests = list(dict.fromkeys(defect.test for defect in chosen))
    try:
        done = run_pytest(sound, *tests, timeout_s=SOUND_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        print(error, file=sys.stderr)
        return False
    if done.returncode:
        print("the named tests do not pass on the code as it is:", file=sys.stderr)
        print(done.stdout, done.stderr, file=sys.stderr)
    return done.returncode == 0


def try_defect(sound: Path, defect: Defect) -> Finding:
    """Put one defect back in a copy of its own and run its test there."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="defect-", dir=sound.parent) as folder:
        broken = Path(folder, "broken")
        copy(sound, broken)
        defect.put_back(broken)
        try:
            done = run_pytest(broken, "-x", defect.test, timeout_s=RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            caught, what = True, f"{defect.test} (hung: ended after {RUN_TIMEOUT_S:g} s)"
        else:
            caught, what = judge(done)
    return Finding(caught, what, time.monotonic() - started)


def judge(done: subprocess.CompletedProcess[str]) -> tuple[bool, str]:
    """Return whether a test failed, and what to say about it."""
    if done.returncode == 0:
        return False, "NOTHING: the defect stays green"
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode != 1 or not failed:
        # A name that is gone, an import that fails: red, but not for what the defect does.
        last = (done.stdout + done.stderr).strip().rpartition("\n")[2]
        return False, f"ROTTEN: no test failed, pytest ended with {done.returncode} ({last})"
    test, _, why = failed[0].removeprefix("FAILED ").partition(" - ")
    return True, f"{test} (hung)" if why.startswith("Failed: Timeout") else test


def run_pytest(folder: Path, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run pytest on the copy, and on nothing else: it comes first on the path."""
    quiet = ("-q", "--tb=no", "-p", "no:cacheprovider", f"--timeout={TEST_TIMEOUT_S}")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *quiet, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

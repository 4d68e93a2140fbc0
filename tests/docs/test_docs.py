"""Every example runs, every link resolves, every command names something that exists."""

import ast
import asyncio
import importlib.util
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from mqtransport import MQSettings

from .pages import PAGES, ROOT, Block, all_blocks, anchors_of, blocks_of, links_of

FOREIGN_COMMANDS = {"aws", "curl", "export", "pytest", "source"}
"""Commands of other people, whose arguments are not checked."""


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MQ_", "AWS_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Examples may write files, log and import each other, and leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", "").endswith(".md"):
            del sys.modules[name]


def run_blocks(page: Path) -> ModuleType:
    """Run a page's Python blocks from top to bottom in one namespace, and what they define."""
    module = ModuleType(f"docs_{page.stem.lower()}")
    module.__file__ = str(page)
    sys.modules[module.__name__] = module
    for block in blocks_of(page, "python"):
        if not block.executed:
            continue
        before = dict(vars(module))
        # Blank lines in front, so that a traceback shows the page's own line.
        source = "\n" * (block.line - 1) + block.text
        # The examples' own asserts count, also when the suite runs under python -O.
        code = compile(source, str(page), "exec", dont_inherit=True, optimize=0)
        exec(code, vars(module))
        if block.module is not None:
            sys.modules[block.module] = module
        for name, value in list(vars(module).items()):
            if before.get(name) is value:
                continue
            if isinstance(value, FastAPI):
                drive(value)
            elif name.startswith("test_") and inspect.isfunction(value):
                run_test(value)
    return module


def drive(app: FastAPI) -> None:
    with TestClient(app) as client:
        assert client.get("/openapi.json").status_code == 200
        assert client.get("/health/mq").status_code in (200, 404)


def run_test(function: object) -> None:
    result = function()  # type: ignore[operator]
    if inspect.iscoroutine(result):
        asyncio.run(result)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks_of(page, "python")], ids=lambda page: page.name
)
@pytest.mark.usefixtures("tried")
def test_every_example_runs(page: Path) -> None:
    run_blocks(page)


@pytest.mark.parametrize("block", all_blocks("python"), ids=lambda block: block.where)
def test_examples_use_public_names_only(block: Block) -> None:
    private = re.compile(r"(^|\.)_(?!_future__|_name__)")
    for node in ast.walk(ast.parse(block.text)):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [node.attr]
        assert not [name for name in names if private.search(name)], block.where


def test_few_examples_are_left_out() -> None:
    left_out = [block.where for block in all_blocks("python") if not block.executed]
    assert len(left_out) <= 2, left_out


@pytest.mark.parametrize("block", all_blocks("json"), ids=lambda block: block.where)
def test_every_json_block_parses(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_resolves(page: Path) -> None:
    for link in links_of(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors_of(target), f"{page.name}: {link}"


def test_every_page_is_in_the_table_of_contents() -> None:
    linked = {link.partition("#")[0] for link in links_of(ROOT / "docs" / "index.md")}
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= linked, sorted(pages - linked)


@pytest.mark.parametrize("block", all_blocks("bash"), ids=lambda block: block.where)
def test_every_command_names_what_exists(block: Block) -> None:
    for words in commands_of(block):
        check_command(words, block)


def commands_of(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command, which may go on over several lines."""
    command = ""
    for line in block.text.replace("\\\n", " ").splitlines():
        command += line
        try:
            words = shlex.split(command, comments=True)
        except ValueError:  # a quotation that ends in a later line
            command += "\n"
            continue
        command = ""
        if words:
            yield words
    assert not command, f"{block.where}: a quotation does not end"


def check_command(words: list[str], block: Block) -> None:
    for word in words:
        if match := re.match(r"(MQ_\w+)=", word):
            check_variable(match[1])
    words = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    if not words or words[0] in FOREIGN_COMMANDS:
        return
    if words[0] == "pip":
        for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
            check_extras(extra.split(","))
    elif words[:2] == ["python", "-m"]:
        check_module(words[2], words[3:], block)
    elif words[0] == "uvicorn":
        check_server(words[1:], block)
    else:
        path = words[1] if words[0] == "python" else words[0]
        assert (ROOT / path).is_file(), f"{block.where}: {path}"


def check_variable(variable: str) -> None:
    known = {f"MQ_{name.upper()}" for name in MQSettings.model_fields}
    assert variable in known or variable.startswith("MQ_QUEUE_"), variable


def check_extras(extras: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(project["optional-dependencies"])


def check_module(module: str, arguments: list[str], block: Block) -> None:
    if module == "venv":
        return
    assert importlib.util.find_spec(module) is not None, f"{block.where}: {module}"
    if module.startswith("mqtransport."):
        check_options([sys.executable, "-m", module, "--help"], arguments, block)


def check_server(arguments: list[str], block: Block) -> None:
    # An example names a file that the page tells the reader to make; README.md a "main".
    made = {one.module for one in all_blocks("python")} | {"main"}
    assert arguments[0].partition(":")[0] in made, f"{block.where}: {arguments[0]}"
    check_options([sys.executable, "-m", "uvicorn", "--help"], arguments, block)


def check_options(help_command: list[str], arguments: list[str], block: Block) -> None:
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    text = subprocess.run(
        help_command, env=environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    for option in (one for one in arguments if one.startswith("--")):
        assert option.partition("=")[0] in text, f"{block.where}: {option}"


@pytest.mark.usefixtures("tried")
def test_the_checks_of_this_file_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nassert False\n```\n\n[x](missing.md) [y](page.md#nowhere)\n")
    with pytest.raises(AssertionError):
        run_blocks(page)
    with pytest.raises(AssertionError):
        test_every_link_resolves(page)
    for command in ("scripts/none", "uvicorn none:app", "python -m mqtransport.none"):
        with pytest.raises(AssertionError):
            check_command(command.split(), Block(page, 1, "bash", ""))
    with pytest.raises(AssertionError):
        check_command(["MQ_REGOIN=x", "curl"], Block(page, 1, "bash", ""))

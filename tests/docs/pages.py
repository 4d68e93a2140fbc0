"""The pages of the documentation, taken apart into blocks and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"```(\w*)\s*\Z")
_NOT_EXECUTED = re.compile(r"<!-- not executed: .+ -->\Z")
_FILE = re.compile(r"<!-- file: (\w+)\.py -->\Z")
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"#+ (.+?)\s*\Z")


@dataclass(frozen=True)
class Block:
    """One fenced block; ``line`` is that of its first line of code, counted from 1."""

    page: Path
    line: int
    language: str
    text: str
    executed: bool = True
    module: str | None = None

    @property
    def where(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path, language: str) -> list[Block]:
    return [block for block in _blocks(page) if block.language == language]


def all_blocks(language: str) -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page, language)]


def links_of(page: Path) -> list[str]:
    return _LINK.findall("\n".join(_prose(page)))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that a code host gives the headings of a page."""
    found = (match[1] for line in _prose(page) if (match := _HEADING.match(line)))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


def table_of(page: Path, heading: str) -> dict[str, list[str]]:
    """Return the first table below a heading: the cells of each row, by its first cell."""
    lines = iter(page.read_text("utf-8").splitlines())
    for line in lines:
        if (match := _HEADING.match(line)) and match[1] == heading:
            break
    rows: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            rows[cells[0].strip("`")] = cells[1:]
        elif rows:
            break
    return rows


def _blocks(page: Path) -> Iterator[Block]:
    start, language, note, before = 0, "", "", ""
    code: list[str] | None = None
    for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if code is None and fence:
            start, language, note, code = number + 1, fence[1], before, []
        elif code is not None and fence:
            module = found[1] if (found := _FILE.match(note)) else None
            executed = not _NOT_EXECUTED.match(note)
            yield Block(page, start, language, "\n".join(code) + "\n", executed, module)
            code = None
        elif code is not None:
            code.append(line)
        before = line.strip()
    if code is not None:
        raise ValueError(f"{page.name}: the block that starts at line {start} does not end")


def _prose(page: Path) -> Iterator[str]:
    inside = False
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            yield line

"""``python -m mqtransport.brokers.sqlite FILE``: what lies in a queue file. Changes nothing."""

from __future__ import annotations

import argparse
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from mqtransport.brokers.sqlite.schema import APPLICATION_ID, VERSION

HEADER = ("queue", "ready", "in flight", "delayed", "oldest", "dead letters")

_COUNTS = """
SELECT q.name,
       COUNT(m.seq) FILTER (WHERE m.due <= :now),
       COUNT(m.seq) FILTER (WHERE m.due > :now AND m.leased),
       COUNT(m.seq) FILTER (WHERE m.due > :now AND NOT m.leased),
       MIN(m.sent_at),
       d.name
  FROM queues q LEFT JOIN messages m ON m.queue = q.id LEFT JOIN queues d ON d.id = q.dead_letters
 GROUP BY q.id ORDER BY q.name
"""


def main(arguments: list[str] | None = None) -> int:
    """Print a line per queue; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mqtransport.brokers.sqlite")
    parser.description = "Show the queues of a file: depths, in flight, oldest age, dead letters."
    parser.add_argument("file", type=Path)
    path = parser.parse_args(arguments).file
    if not path.is_file():
        print(f"{path}: there is no such file", file=sys.stderr)
        return 2
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            return _show(db, path)
    except sqlite3.Error as error:
        print(f"{path}: cannot be read: {error}", file=sys.stderr)
        return 2


def _show(db: sqlite3.Connection, path: Path) -> int:
    (found_id,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if found_id != APPLICATION_ID:
        print(f"{path}: is no queue file of mqtransport", file=sys.stderr)
        return 2
    if version > VERSION:
        print(f"{path}: was written by a newer mqtransport", file=sys.stderr)
        return 2
    rows = [HEADER, *_rows(db)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:5], widths[1:5], strict=True)]
        print("  ".join([*cells, row[5]]).rstrip())
    (damaged,) = db.execute("SELECT COUNT(*) FROM damaged").fetchone()
    if damaged:
        print(f"damaged messages that were put aside (table damaged): {damaged}")
    return 1 if damaged else 0


def _rows(db: sqlite3.Connection) -> Iterator[tuple[str, ...]]:
    for name, ready, leased, delayed, oldest, dead in db.execute(
        _COUNTS, {"now": time.monotonic()}
    ):
        age = "-" if oldest is None else _age(time.time() - oldest)
        yield name, str(ready), str(leased), str(delayed), age, dead or "-"


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


if __name__ == "__main__":
    sys.exit(main())

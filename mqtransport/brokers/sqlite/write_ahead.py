"""What a write-ahead log holds that SQLite cannot read any more.

SQLite takes the first frame whose checksum is wrong for the end of the log, since that is how the
log ends after a crash. If the frame was damaged later, the commits behind it vanish without a
word. They can be told apart: at a crash with ``synchronous=FULL`` one commit at most is unfinished.

The format: https://www.sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import logging
import os
import sqlite3
import struct
import time
from collections import Counter
from pathlib import Path

from mqtransport.brokers.sqlite import reserve

_log = logging.getLogger("mqtransport.brokers.sqlite")

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_BIG_ENDIAN = 0x377F0683
"""The header's first number if its checksums are of big-endian words; else one less."""


_PAGE_SIZES = frozenset(1 << power for power in range(9, 17))
_OUR_PAGE_BYTES = 4096


def read(path: Path) -> bytes:
    """Return the log as it lies beside its file; to be called before SQLite opens it."""
    try:
        return _path_of(path).read_bytes()
    except FileNotFoundError:
        return b""


def report_loss(db: sqlite3.Connection, path: Path, log: bytes) -> None:
    """Log an error and keep a copy, if commits of the log could not be read.

    Args:
        db: the connection, which has read the log.
        path: of the queue file.
        log: what :func:`read` returned.
    """
    if not log:
        return
    if reserve.free_bytes(path) < len(log):
        # The look writes the log into the file; who empties the queue needs that room for acks.
        _log.warning("SQLite: the disk of %r is full; its log was not checked", path.name)
        return
    readable = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    if read(path)[:_HEADER_BYTES] != log[:_HEADER_BYTES]:
        return  # another process has begun the log anew, for which all had been read
    lost = commits_behind(log, readable)
    if lost < 2:
        return
    copy = path.with_name(f"{path.name}-wal.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
    handle = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(handle, "wb") as file:
        file.write(log)
    _log.error(
        "SQLite: the newest %d commits of %r cannot be read, because its log is damaged; messages "
        "confirmed in them are missing, and acks. The log was kept as %r. (After a power cut with "
        "synchronous=NORMAL this is to be expected.)",
        lost,
        path.name,
        copy.name,
    )


def commits_behind(log: bytes, readable: int) -> int:
    """Return how many commits lie in a log behind its readable frames. Pure."""
    if readable < 0 or len(log) < _HEADER_BYTES + _FRAME_HEADER_BYTES:
        return 0
    (page_bytes,) = struct.unpack_from(">I", log, 8)
    size = _FRAME_HEADER_BYTES + (page_bytes if page_bytes in _PAGE_SIZES else _OUR_PAGE_BYTES)
    starts = range(_HEADER_BYTES, len(log) - size + 1, size)
    # Frames from before the log was last begun anew have another salt.
    if _is_header_sound(log):
        salt = log[16:24]
    else:
        salts = Counter(log[start + 8 : start + 16] for start in starts)
        ((salt, _),) = salts.most_common(1) or [(b"", 0)]
    return sum(
        log[start + 8 : start + 16] == salt and log[start + 4 : start + 8] != b"\0\0\0\0"
        for start in starts[readable:]
    )


def _is_header_sound(log: bytes) -> bool:
    (magic,) = struct.unpack_from(">I", log)
    if magic not in (_BIG_ENDIAN, _BIG_ENDIAN - 1):
        return False
    words = struct.unpack_from((">" if magic == _BIG_ENDIAN else "<") + "6I", log)
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return struct.unpack_from(">2I", log, 24) == (first, second)


def _path_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")

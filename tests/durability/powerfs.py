"""A disk in memory that loses its power: python -m tests.durability.powerfs MOUNT_POINT

A FUSE file system of one folder. What was written is there at once, as in a page cache; it is on
the disk once the file was synced, and a name is once the folder was. After an unmount the line
``cut SEED SHARE`` takes the power away: of what was not synced, about a share of the sectors
survives, drawn at random, since a disk writes in any order; then the file system is there again.
"""

import errno
import os
import stat
import sys
from random import Random
from typing import Any

import mfusepy

SECTOR = 512
CAPACITY_BLOCKS = 1 << 20


class Node:
    """A file: what programs see of it, what is on the disk, and what lies between."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.seen = bytearray()
        self.on_disk = bytearray()
        self.unsynced: list[tuple[int, bytes | None]] = []

    def write(self, offset: int, data: bytes | None) -> None:
        """Write; without data, cut off or lengthen to the offset."""
        _apply(self.seen, offset, data)
        self.unsynced.append((offset, data))

    def sync(self) -> None:
        for offset, data in self.unsynced:
            _apply(self.on_disk, offset, data)
        self.unsynced.clear()

    def lose(self, random: Random, share: float) -> None:
        for offset, data in self.unsynced:
            if data is None:
                if random.random() < share:
                    _apply(self.on_disk, offset, None)
                continue
            for start in range(0, len(data), SECTOR):
                if random.random() < share:
                    _apply(self.on_disk, offset + start, data[start : start + SECTOR])
        self.unsynced.clear()
        self.seen = bytearray(self.on_disk)


def _apply(to: bytearray, offset: int, data: bytes | None) -> None:
    if len(to) < offset:
        to.extend(bytes(offset - len(to)))
    if data is None:
        del to[offset:]
    else:
        to[offset : offset + len(data)] = data


class Disk(mfusepy.Operations):
    """The file system."""

    use_ns = True

    def __init__(self) -> None:
        self.names: dict[str, Node] = {}
        self.names_on_disk: dict[str, Node] = {}
        self.open_files: dict[int, Node] = {}
        self.next_handle = 1

    def cut(self, random: Random, share: float) -> None:
        """Take the power away."""
        self.open_files.clear()
        names = self.names if random.random() < share else self.names_on_disk
        self.names, self.names_on_disk = dict(names), dict(names)
        for node in self.names.values():
            node.lose(random, share)

    def init(self, path: str) -> None:
        print("mounted", flush=True)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        node = self._node(path, fh)
        return {
            "st_mode": stat.S_IFREG | node.mode,
            "st_nlink": 1,
            "st_size": len(node.seen),
            "st_blocks": -(-len(node.seen) // SECTOR),
        }

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *(name[1:] for name in self.names)]

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        self.names[path] = Node(stat.S_IMODE(mode))
        return self.open(path, 0)

    def open(self, path: str, flags: int) -> int:
        self.next_handle += 1
        self.open_files[self.next_handle] = self._node(path)
        return self.next_handle

    def release(self, path: str, fh: int) -> int:
        self.open_files.pop(fh, None)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._node(path, fh).seen[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._node(path, fh).write(offset, bytes(data))
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._node(path, fh).write(length, None)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._node(path, fh).sync()
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self.names_on_disk = dict(self.names)
        return 0

    def flush(self, path: str, fh: int) -> int:
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self._node(path).mode = stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        return 0

    def link(self, target: str, source: str) -> int:
        self.names[target] = self._node(source)
        return 0

    def unlink(self, path: str) -> int:
        self._node(path)
        del self.names[path]
        return 0

    def rename(self, old: str, new: str) -> int:
        self.names[new] = self._node(old)
        del self.names[old]
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        free = {"f_bavail": CAPACITY_BLOCKS, "f_bfree": CAPACITY_BLOCKS}
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": CAPACITY_BLOCKS, **free}

    def _node(self, path: str, fh: int | None = None) -> Node:
        node = self.open_files.get(fh) if fh is not None else None
        if node is None and (node := self.names.get(path)) is None:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return node


def main(mount_point: str) -> None:
    disk = Disk()
    while True:
        # No attributes or names are kept by the kernel: they change when the power goes.
        mfusepy.FUSE(
            disk,
            mount_point,
            foreground=True,
            nothreads=True,
            attr_timeout=0,
            entry_timeout=0,
            negative_timeout=0,
            big_writes=True,
            default_permissions=True,
        )
        command = sys.stdin.readline().split()
        if not command:
            return
        _, seed, share = command
        disk.cut(Random(seed), float(share))


if __name__ == "__main__":
    os.umask(0)
    main(sys.argv[1])

"""The outbox of an ordered queue: of each group one message travels at a time. Pure.

A batch that is taken in part, a lost reply and a retry would otherwise let a message be
overtaken by the next of its group. Messages of different groups share batches.
"""

from __future__ import annotations

import heapq
from collections import deque

from mqtransport.channel.outbox import Entry, Outbox


class OrderedOutbox(Outbox):
    """Messages by group, each group in the order in which its messages came.

    The next of a group leaves when the one before it is confirmed, refused or withdrawn, and
    no request that carries it is under way any more.
    """

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        super().__init__(max_messages=max_messages, max_bytes=max_bytes)
        self._lines: dict[str, deque[Entry]] = {}
        self._flying: dict[str, Entry] = {}
        self._turns: deque[str] = deque()  # groups whose first message may leave
        self._waiting: set[str] = set()  # groups that have a turn, now or later

    def add(self, entry: Entry) -> None:
        """Append a message behind those of its group."""
        self._held[entry] = None
        self._bytes += entry.size_bytes
        self._lines.setdefault(_group(entry), deque()).append(entry)
        self._offer(_group(entry))

    def put_back(self, entries: list[Entry]) -> None:
        """Return entries of a failed request; each is the next of its group again."""
        for entry in reversed(entries):
            self._landed(entry)
            self._offer(_group(entry), first=True)

    def put_later(self, entry: Entry, not_before: float) -> None:
        """Return one failed entry; its group is not taken before the given monotonic time."""
        self._landed(entry)
        group = _group(entry)
        if entry not in self._held:
            self._offer(group)
        elif group not in self._waiting:
            self._waiting.add(group)
            heapq.heappush(self._later, (not_before, next(self._sequence), entry))

    def remove(self, entry: Entry) -> None:
        """Forget a message. Withdrawn in flight, its group waits until the request has ended."""
        group = _group(entry)
        if entry in self._held:
            del self._held[entry]
            self._bytes -= entry.size_bytes
            line = self._lines[group]
            line.remove(entry)
            if not line:
                del self._lines[group]
        if not entry.in_flight:
            self._landed(entry)
        self._offer(group)

    def ready(self, now: float) -> int:
        """Return about how many messages may be sent now: one of each group."""
        while self._later and self._later[0][0] <= now:
            self._turns.appendleft(_group(heapq.heappop(self._later)[2]))
        return len(self._turns)

    def has_full(self, max_messages: int) -> bool:
        """Return whether so many may be sent now: one of each group."""
        return len(self._turns) >= max_messages

    def take_batch(self, *, max_messages: int, max_bytes: int) -> list[Entry]:
        """Take the next batch, at most one message of each group; marks it as in flight."""
        batch: list[Entry] = []
        size = 0
        while self._turns and len(batch) < max_messages:
            line = self._lines.get(self._turns[0])
            if line is None:  # all of them were withdrawn
                self._waiting.discard(self._turns.popleft())
                continue
            entry = line[0]
            if batch and (entry.alone or size + entry.size_bytes > max_bytes):
                break
            group = self._turns.popleft()
            self._waiting.discard(group)
            self._flying[group] = entry
            entry.in_flight = True
            batch.append(entry)
            size += entry.size_bytes
            if entry.alone:
                break
        return batch

    def _landed(self, entry: Entry) -> None:
        entry.in_flight = False
        group = _group(entry)
        if self._flying.get(group) is entry:
            del self._flying[group]

    def _offer(self, group: str, *, first: bool = False) -> None:
        """Give a group its turn, if it has a message that may leave."""
        if group not in self._lines or group in self._flying or group in self._waiting:
            return
        self._waiting.add(group)
        if first:
            self._turns.appendleft(group)
        else:
            self._turns.append(group)


def _group(entry: Entry) -> str:
    return entry.message.group or ""

"""Who may run, and who waits for whom: lines, suspects, and what is done already. Pure.

On an ordered queue a line is a group. On any other queue it is one message, which SQS may
deliver again while its first delivery is still in hand.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from random import Random

from mqtransport.channel.in_hand import Held, Outcome

MAX_REMEMBERED = 10_000
"""Ids of messages that are kept in mind for each purpose; the oldest are forgotten first."""


class Lines:
    """The lines of one channel.

    Args:
        ordered: whether the queue is an ordered one, so that a group is a line.
    """

    def __init__(self, *, ordered: bool) -> None:
        self._ordered = ordered
        self._first: dict[str, Held] = {}
        # Only lines longer than one have an entry: most messages never see another of theirs.
        self._behind: dict[str, deque[Held]] = {}

    def join(self, held: Held) -> bool:
        """Put a delivery at the end of its line; True if it is the first and may run."""
        raw = held.raw
        line = raw.group if self._ordered and raw.group is not None else raw.broker_id
        held.line = line
        if self._first.setdefault(line, held) is held:
            return True
        self._behind.setdefault(line, deque()).append(held)
        return False

    def is_first(self, held: Held) -> bool:
        """Return whether nothing stands before a delivery."""
        return self._first.get(held.line, held) is held

    def behind(self, held: Held) -> list[Held]:
        """Return the deliveries that wait behind this one, in order."""
        waiting = list(self._behind.get(held.line, ()))
        if self._first.get(held.line) is held:
            return waiting
        return waiting[waiting.index(held) + 1 :] if held in waiting else []

    def is_followed(self, held: Held) -> bool:
        """Return whether another delivery waits in its line."""
        return bool(self._behind) and held.line in self._behind

    def leave(self, held: Held) -> Held | None:
        """Take a delivery out of its line; return the one that may run now, if there is one."""
        waiting = self._behind.get(held.line)
        if self._first.get(held.line) is not held:
            if waiting is not None and held in waiting:
                waiting.remove(held)
                self._tidy(held.line)
            return None
        if waiting is None:
            del self._first[held.line]
            return None
        self._first[held.line] = following = waiting.popleft()
        self._tidy(held.line)
        return following

    def cut(self, held: Held) -> list[Held]:
        """Take a delivery and all behind it out of their line; return those behind it.

        What the broker delivers of them again begins a line of its own: it may come before the
        answer to their release.
        """
        behind = self.behind(held)
        for one in reversed(behind):
            self.leave(one)
        self.leave(held)
        return behind

    def _tidy(self, key: str) -> None:
        if not self._behind[key]:
            del self._behind[key]


class Suspects:
    """Deliveries that may kill the process: delivered more often than retries explain.

    Something ends the process again and again while they are in hand, and each time all that is
    in hand counts one delivery more. Run together, the innocent would reach the delivery limit
    with the one that kills. So they run one at a time, each settled before the next starts, in
    random order: at every restart some of the innocent are done before it is the killer's turn.
    One that failed and is run again in place has had its turn: nobody waits for its group.

    What ran here and failed did not kill: after that, only further deliveries count.

    Args:
        max_attempts: runs that the retry policy allows.
        random: source of the order.
    """

    def __init__(self, max_attempts: int, random: Random) -> None:
        self._max_attempts = max_attempts
        self._random = random
        self._waiting: list[Held] = []
        self._running: Held | None = None
        self._survived: OrderedDict[str, int] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether there is one, at work or waiting."""
        return self._running is not None or bool(self._waiting)

    def suspects(self, held: Held) -> bool:
        """Return whether a delivery is a suspect."""
        if held.raw.attempt <= self._max_attempts:
            return False
        unexplained = held.raw.attempt - self._survived.get(held.raw.broker_id, 0)
        return unexplained > self._max_attempts

    def survived(self, held: Held) -> None:
        """Note that a run of it ended in a failure, and not with the process."""
        self._survived[held.raw.broker_id] = held.raw.attempt
        self._survived.move_to_end(held.raw.broker_id)
        if len(self._survived) > MAX_REMEMBERED:
            self._survived.popitem(last=False)

    def wait(self, held: Held) -> None:
        """Let a suspect wait for its turn."""
        self._waiting.append(held)

    def next(self) -> Held | None:
        """Return the suspect that may start now; None while one is at work."""
        self._waiting = [held for held in self._waiting if held.settling is None]
        if self._running is not None or not self._waiting:
            return None
        self._running = self._waiting.pop(self._random.randrange(len(self._waiting)))
        return self._running

    def at_work(self, held: Held) -> bool:
        """Return whether this is the suspect at work."""
        return held is self._running

    def ended(self, held: Held) -> bool:
        """Note that a delivery needs no turn any more; True if the next suspect may start."""
        if held in self._waiting:
            self._waiting.remove(held)
        if held is not self._running:
            return False
        self._running = None
        return True


class Handled:
    """Messages whose handling is done although they could not be deleted, for a while.

    When one is delivered again, it is deleted instead of run.
    """

    def __init__(self) -> None:
        self._until: OrderedDict[str, tuple[Outcome, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, broker_id: str, outcome: Outcome, until: float) -> None:
        """Remember a message and how it ended, up to a monotonic time."""
        self._until[broker_id] = (outcome, until)
        self._until.move_to_end(broker_id)
        if len(self._until) > MAX_REMEMBERED:
            self._until.popitem(last=False)

    def recall(self, broker_id: str, now: float) -> Outcome | None:
        """Return how a message ended that was handled before; None if it was not."""
        while self._until:
            oldest, (_, until) = next(iter(self._until.items()))
            if until > now:
                break
            del self._until[oldest]
        found = self._until.get(broker_id)
        return found[0] if found is not None and found[1] > now else None

"""From a queue's name to its URL: looked up once, remembered until the queue is gone."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable

from mqtransport import limits

Lookup = Callable[[str], Awaitable[str]]

_AWS_HOST = re.compile(
    r"https?://(?:sqs\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\.amazonaws\.com[.a-z]*/"
)


def is_url(queue: str) -> bool:
    """Return whether the queue is given by its URL."""
    return queue.startswith(("http://", "https://"))


def why_unusable(queue: str, *, region: str, custom_endpoint: bool) -> str | None:
    """Return why no queue can be reached under this name or URL; None if one may be.

    botocore sends every request to the client's own region whatever host the URL names, so a
    URL of another region would reach a namesake there, or nothing.
    """
    if not is_url(queue):
        if limits.is_queue_name(queue):
            return None
        return "the name is illegal (1 to 80 letters, digits, '-' and '_')"
    found = None if custom_endpoint else _AWS_HOST.match(queue)
    there = (found[1] or found[2]) if found else region
    return None if there == region else f"its URL lies in region {there}"


class QueueUrls:
    """The URLs known so far.

    Concurrent first users of a queue share one lookup: the first makes it under the queue's
    lock, the others find its result. If the first is cancelled, the next takes over, so no
    task of its own is needed and nobody is hurt.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def known(self, queue: str) -> str | None:
        """Return the URL if no lookup is needed."""
        return queue if is_url(queue) else self._known.get(queue)

    def remember(self, queue: str, url: str) -> None:
        """Keep the URL of a queue."""
        self._known[queue] = url

    def forget(self, queue: str) -> None:
        """Drop what is known: the queue was reported missing."""
        self._known.pop(queue, None)

    async def get(self, queue: str, look_up: Lookup) -> str:
        """Return the queue's URL, looking it up if nobody has yet."""
        if (url := self.known(queue)) is not None:
            return url
        async with self._locks[queue]:
            if (url := self.known(queue)) is None:
                url = await look_up(queue)
                self.remember(queue, url)
            return url

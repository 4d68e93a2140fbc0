"""One verb in progress: its requests, and what is known when it goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mqtransport.brokers.sqs import encoding
from mqtransport.brokers.sqs.causes import shown_cause
from mqtransport.brokers.sqs.errors import BadReplyError, Call, from_exception
from mqtransport.brokers.sqs.urls import QueueUrls, is_url, why_unusable
from mqtransport.errors import (
    AccessDeniedError,
    BrokerError,
    CredentialsError,
    QueueNotFoundError,
    RefusedError,
)

if TYPE_CHECKING:
    from mqtransport.brokers.sqs.client import Clients


class Verb:
    """The requests of one verb about one queue, within its time.

    As a context manager it ends what takes too long, and leaves no other errors than ours.

    Args:
        about: what is attempted, for errors.
        clients: the open clients.
        urls: the URLs of queues known so far.
        budget_s: seconds that the verb may take.

    Attributes:
        about: what is attempted, for errors.
        asked: whether a request that may change something was begun; looking up a URL is none.

    Raises:
        QueueNotFoundError: no queue can have this name.
    """

    def __init__(self, about: Call, clients: Clients, urls: QueueUrls, *, budget_s: float) -> None:
        why = why_unusable(
            about.queue, region=about.region, custom_endpoint=clients.custom_endpoint
        )
        if why is not None:
            raise about.missing(why)
        self.about = about
        self.asked = False
        self._clients = clients
        self._urls = urls
        self._budget_s = budget_s
        self._limit: asyncio.Timeout | None = None

    # Written out, and no generator with @asynccontextmanager: half the cost, for every request.
    async def __aenter__(self) -> Self:
        self._limit = asyncio.timeout(self._budget_s)
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._limit is not None:
                await self._limit.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise self._late() from late
        if isinstance(error, TimeoutError):
            raise self._late() from error
        if isinstance(error, BadReplyError):
            raise self.about.lost(str(error)) from error
        if isinstance(error, QueueNotFoundError):
            self._urls.forget(self.about.queue)
        elif isinstance(error, CredentialsError) and self._clients.chain is not None:
            self._clients.chain.refused()

    def on(self, queue: str) -> Self:
        """Return the same verb about another queue."""
        about = Call(self.about.verb, self.about.permission, queue, self.about.region)
        return type(self)(about, self._clients, self._urls, budget_s=self._budget_s)

    def refuse_if(self, why: str | None) -> None:
        """Raise a RefusedError if there is a reason for it; no call is made."""
        if why is not None:
            raise self.about.refused(why)

    def _late(self) -> BrokerError:
        error = self.about.lost(f"no answer within {self._budget_s:g} s")
        error.maybe_done = self.asked
        return error

    async def url(self) -> str:
        """Return the queue's URL, looking it up at the first use."""
        return await self._urls.get(self.about.queue, self._look_up)

    async def ask(self, operation: str, **parameters: Any) -> encoding.Reply:
        """Make one request about the queue; raises a BrokerError for whatever goes wrong."""
        url = await self.url()
        self.asked = True
        return await self._request(operation, QueueUrl=url, **parameters)

    async def attributes(self, name: str) -> Mapping[str, Any]:
        """Return an attribute of the queue by name, or ``All``."""
        reply = await self.ask("get_queue_attributes", AttributeNames=[name])
        return encoding.attributes_of(reply)

    async def arn(self) -> str:
        """Return the queue's ARN; never shown, since it holds the account id."""
        arn = (await self.attributes("QueueArn")).get("QueueArn")
        if not isinstance(arn, str):
            raise BadReplyError("the answer has no QueueArn")
        return arn

    async def create(self, attributes: Mapping[str, str]) -> bool:
        """Make the queue exist; one that does is kept as it is.

        Looks before it creates, so an app that may not create queues runs on existing ones.

        Returns:
            Whether it was made now.
        """
        if is_url(self.about.queue):
            await self.arn()
            return False
        if await self._exists(QueueNotFoundError, AccessDeniedError):
            return False
        self.asked = True
        try:
            reply = await self._request(
                "create_queue", QueueName=self.about.queue, Attributes=dict(attributes)
            )
        except RefusedError as refused:
            # Somebody else made it in between, with other attributes (QueueNameExists).
            if await self._exists(QueueNotFoundError):
                return False
            raise refused from refused.__cause__
        self._urls.remember(self.about.queue, encoding.queue_url(reply))
        return True

    async def add_redrive(self, policy: str) -> None:
        """Give the queue a dead letter policy unless it has one."""
        if "RedrivePolicy" not in await self.attributes("All"):
            await self.ask("set_queue_attributes", Attributes={"RedrivePolicy": policy})

    async def _exists(self, *no: type[BrokerError]) -> bool:
        try:
            url = await self._look_up(self.about.queue)
        except no:
            return False
        self._urls.remember(self.about.queue, url)
        return True

    async def _look_up(self, queue: str) -> str:
        try:
            reply = await self._request("get_queue_url", QueueName=queue)
            try:
                return encoding.queue_url(reply)
            except BadReplyError as bad:
                raise self.about.lost(str(bad)) from bad
        except BrokerError as error:
            # Whatever became of the lookup, the verb itself was not begun.
            error.maybe_done = self.asked
            raise

    async def _request(self, operation: str, **parameters: Any) -> encoding.Reply:
        polling = operation == "receive_message"
        client = self._clients.polls if polling else self._clients.control
        try:
            reply = await client.ask(operation, parameters)
        except Exception as exc:
            # The edge to foreign code: botocore's parser alone raises what it stumbles over
            # (AttributeError, TypeError, binascii.Error), and nothing foreign may escape.
            raise from_exception(self.about, exc) from shown_cause(exc)
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this task: aiohttp, closed, so ends those who wait for a connection.
            raise self.about.lost("the broker was closed meanwhile") from exc
        return reply

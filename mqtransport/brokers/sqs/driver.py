"""The Amazon SQS driver."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import SecretStr

from mqtransport import limits
from mqtransport.broker import DEFAULT_TIMEOUT_S, Broker, Capabilities, QueueInfo, QueueOptions
from mqtransport.brokers.sqs import encoding, ranges
from mqtransport.brokers.sqs.errors import Call
from mqtransport.brokers.sqs.options import Options, secret
from mqtransport.brokers.sqs.urls import QueueUrls, why_unusable
from mqtransport.brokers.sqs.verb import Verb
from mqtransport.clock import Clock, SystemClock
from mqtransport.errors import (
    AccessDeniedError,
    BrokerError,
    ClosedError,
    ConfigurationError,
    QueueNotFoundError,
    UsageError,
)
from mqtransport.message import Outgoing, RawDelivery

if TYPE_CHECKING:
    from mqtransport.brokers.sqs.client import Clients

PING_QUEUE = "mqtransport-ping"
"""The reserved name that a ping asks for when the app has no queue; it need not exist."""

_log = logging.getLogger(__name__)


class SQSBroker(Broker):
    """Amazon SQS, an emulator of it, or a VPC endpoint.

    Args:
        region: AWS region; by default AWS_REGION, AWS_DEFAULT_REGION or the profile's.
        endpoint_url: where to send requests instead of AWS's own endpoint. Queue URLs of
            another host are sent there too.
        access_key: access key id; with ``secret_key`` or, for the AWS default chain, without.
        secret_key: secret access key.
        timeout_s: seconds after which a call counts as failed; above 0.
        poll_connections: most receives at a time; further ones wait and may time out.
        control_connections: most other calls at a time.
        fast_path: whether sends, receives, acks, releases and extensions leave out botocore's
            pipeline, which costs three quarters of a call; False lets aiobotocore make them.
        clock: where to read time; the machine's by default.

    Raises:
        ConfigurationError: an option is malformed, or one key of the pair is missing.

    Example:
        ```python
        async with SQSBroker(region="eu-central-1") as broker:
            await broker.ping(["orders"])
        ```
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        name="sqs",
        max_batch=limits.MAX_BATCH,
        max_batch_bytes=limits.MAX_MESSAGE_BYTES,
        max_message_bytes=limits.MAX_MESSAGE_BYTES,
        max_attributes=limits.MAX_ATTRIBUTES,
        max_wait_s=limits.MAX_WAIT_S,
        max_delay_s=limits.MAX_DELAY_S,
        max_lease_s=limits.MAX_LEASE_S,
        lease_step_s=1.0,
        durable=True,
        ordered=True,
        receive_cancellable=False,
        creates_queues=False,
        detects_stale_receipts=False,
    )

    def __init__(
        self,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        access_key: SecretStr | str | None = None,
        secret_key: SecretStr | str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        poll_connections: int = 50,
        control_connections: int = 50,
        fast_path: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._options = Options(
            region=region or None,
            endpoint_url=endpoint_url or None,
            access_key=secret(access_key),
            secret_key=secret(secret_key),
            timeout_s=timeout_s,
            poll_connections=poll_connections,
            control_connections=control_connections,
            fast_path=fast_path,
        )
        self.timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._urls = QueueUrls()
        self._connecting = asyncio.Lock()
        self._clients: Clients | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __repr__(self) -> str:
        clients = self._clients
        state = "closed" if self._closed else "not connected" if clients is None else "connected"
        region = self._options.region if clients is None else clients.region
        return f"<SQSBroker region={region!r} {state}>"

    async def connect(self) -> None:
        """Build the clients; raises ConfigurationError without the extra or without a region."""
        async with self._connecting:
            if self._closed:
                raise ClosedError("SQS: this broker was closed; make a new one")
            if self._clients is None:
                module = await _import_client()
                clients = await module.open_clients(self._options, self._clock)
                self._clients, self._loop = clients, asyncio.get_running_loop()
                _log.debug("SQS: ready for region %s", clients.region)

    async def aclose(self) -> None:  # noqa: D102 - the contract is Broker's
        self._closed = True
        async with self._connecting:
            clients, self._clients = self._clients, None
            if clients is not None:
                await clients.aclose()

    async def ping(self, queues: Sequence[str]) -> None:  # noqa: D102
        clients = self._open_clients()
        queue = next((queue for queue in queues if _may_exist(queue, clients)), PING_QUEUE)
        # Both prove reach and valid credentials.
        with contextlib.suppress(AccessDeniedError, QueueNotFoundError):
            async with self._verb("ping", "sqs:GetQueueAttributes", queue) as verb:
                if self._urls.known(queue) is None:
                    await verb.url()
                else:
                    await verb.arn()

    async def declare(self, queue: str, options: QueueOptions) -> None:  # noqa: D102
        fifo = limits.is_fifo(queue)
        attributes = encoding.queue_attributes(options, fifo=fifo)
        async with self._verb("create", "sqs:CreateQueue", queue) as verb:
            policy = None
            if options.dead_letter_queue is not None:
                verb.refuse_if(ranges.why_no_dead_letters(queue, options.dead_letter_queue))
                dead_letters = verb.on(options.dead_letter_queue)
                await dead_letters.create(encoding.queue_attributes(None, fifo=fifo))
                policy = encoding.redrive_policy(
                    await dead_letters.arn(), options.max_receive_count
                )
                attributes["RedrivePolicy"] = policy
            made = await verb.create(attributes)
            if policy is not None and not made:
                await verb.add_redrive(policy)

    async def describe(self, queue: str) -> QueueInfo:  # noqa: D102
        async with self._verb("describe", "sqs:GetQueueAttributes", queue) as verb:
            await verb.url()  # denied here, the queue cannot be used at all
            try:
                return encoding.queue_info(await verb.attributes("All"))
            except AccessDeniedError:
                return QueueInfo()

    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:  # noqa: D102
        async with self._verb("send to", "sqs:SendMessage", queue) as verb:
            verb.refuse_if(ranges.why_no_batch(len(batch)))
            fifo = limits.is_fifo(queue)
            sizes = [limits.counted_bytes(message) for message in batch]
            results: dict[int, str | BrokerError] = {}
            for position, (message, size) in enumerate(zip(batch, sizes, strict=True)):
                if why := limits.why_refused(
                    message, max_bytes=limits.MAX_MESSAGE_BYTES, fifo=fifo, size=size
                ):
                    results[position] = verb.about.refused(why)
            going = [position for position in range(len(batch)) if position not in results]
            if going:
                verb.refuse_if(ranges.why_too_large(sum(sizes[position] for position in going)))
                entries = [
                    encoding.send_entry(position, batch[position], fifo=fifo) for position in going
                ]
                reply = await verb.ask("send_message_batch", Entries=entries)
                answers = encoding.outcomes(verb.about, reply, going)
                for position, answer in zip(going, answers, strict=True):
                    body = batch[position].body
                    results[position] = encoding.confirmed(verb.about, answer, body)
            return [results[position] for position in range(len(batch))]

    async def receive(  # noqa: D102
        self,
        queue: str,
        *,
        max_messages: int,
        wait_s: float,
        lease_s: float,
        attempt_id: str | None = None,
    ) -> list[RawDelivery]:
        async with self._verb("receive from", "sqs:ReceiveMessage", queue, wait_s=wait_s) as verb:
            verb.refuse_if(ranges.why_no_receive(max_messages, wait_s, lease_s))
            attempt = {}
            if attempt_id is not None and limits.is_fifo(queue):
                attempt["ReceiveRequestAttemptId"] = attempt_id
            reply = await verb.ask(
                "receive_message",
                MaxNumberOfMessages=max_messages,
                WaitTimeSeconds=math.floor(wait_s),
                VisibilityTimeout=encoding.whole_seconds(lease_s),
                MessageSystemAttributeNames=list(encoding.SYSTEM_ATTRIBUTES),
                MessageAttributeNames=["All"],
                **attempt,
            )
            good, faults = encoding.deliveries(reply)
            for fault in faults:
                # Its neighbours are not made to wait for it; it comes back after its lease.
                _log.error("%s", verb.about.lost(fault))
            return good

    async def ack(self, queue: str, receipts: Sequence[str]) -> list[BrokerError | None]:  # noqa: D102
        async with self._verb("ack deliveries of", "sqs:DeleteMessage", queue) as verb:
            return await _settle(verb, "delete_message_batch", receipts)

    async def release(  # noqa: D102
        self, queue: str, receipts: Sequence[str], *, delay_s: float
    ) -> list[BrokerError | None]:
        permission = "sqs:ChangeMessageVisibility"
        async with self._verb("release deliveries of", permission, queue) as verb:
            verb.refuse_if(ranges.why_no_release(delay_s))
            return await _hide(verb, receipts, delay_s)

    async def extend(  # noqa: D102
        self, queue: str, receipts: Sequence[str], *, lease_s: float
    ) -> list[BrokerError | None]:
        permission = "sqs:ChangeMessageVisibility"
        async with self._verb("extend leases on", permission, queue) as verb:
            verb.refuse_if(ranges.why_no_lease(lease_s))
            return await _hide(verb, receipts, lease_s)

    def _open_clients(self) -> Clients:
        if self._clients is None or self._closed:
            raise ClosedError(
                "SQS: this broker was closed; make a new one"
                if self._closed
                else "SQS: this broker is not connected; await connect() first"
            )
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError(
                "SQS: this broker was connected in another event loop, to which its connections "
                "belong; make one in each loop"
            )
        return self._clients

    def _verb(self, verb: str, permission: str, queue: str, *, wait_s: float = 0.0) -> Verb:
        clients = self._open_clients()
        about = Call(verb, permission, queue, clients.region)
        return Verb(about, clients, self._urls, budget_s=max(0.0, wait_s) + self.timeout_s)


async def _hide(verb: Verb, receipts: Sequence[str], seconds: float) -> list[BrokerError | None]:
    hidden_s = encoding.whole_seconds(seconds)
    operation = "change_message_visibility_batch"
    return await _settle(verb, operation, receipts, VisibilityTimeout=hidden_s)


async def _settle(
    verb: Verb, operation: str, receipts: Sequence[str], **fields: int
) -> list[BrokerError | None]:
    verb.refuse_if(ranges.why_no_batch(len(receipts)))
    # Each once: a receipt that stands twice makes some servers refuse the whole batch.
    unique = list(dict.fromkeys(receipts))
    reply = await verb.ask(operation, Entries=encoding.receipt_entries(unique, **fields))
    results = encoding.settled(verb.about, reply, len(unique))
    by_receipt = dict(zip(unique, results, strict=True))
    return [by_receipt[receipt] for receipt in receipts]


def _may_exist(queue: str, clients: Clients) -> bool:
    return (
        why_unusable(queue, region=clients.region, custom_endpoint=clients.custom_endpoint) is None
    )


async def _import_client() -> Any:
    # Off the loop: importing aiobotocore reads hundreds of files (a quarter of a second).
    try:
        return await asyncio.to_thread(importlib.import_module, "mqtransport.brokers.sqs.client")
    except ImportError as exc:
        raise ConfigurationError(
            'SQS: aiobotocore cannot be imported; pip install "mqtransport[sqs]"'
        ) from exc

"""The two aiobotocore clients; imported when connecting, because it needs the extra ``sqs``."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError

from mqtransport import limits
from mqtransport.brokers.sqs.codec import OPERATIONS, read, write
from mqtransport.brokers.sqs.credentials import ChainCredentials, Keys
from mqtransport.brokers.sqs.encoding import RAW, Reply
from mqtransport.brokers.sqs.fast import LARGE_BYTES, FastPath
from mqtransport.brokers.sqs.options import Options, resolve_region
from mqtransport.clock import Clock
from mqtransport.errors import ConfigurationError

CONNECT_TIMEOUT_S = 3.0
CLOSE_TIMEOUT_S = 2.0
KEEP_ALIVE_IDLE_S = 10
"""A connection that is silent for so long is probed; below the longest poll, 20 s."""

_KEEP_ALIVE = (("TCP_KEEPIDLE", KEEP_ALIVE_IDLE_S), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3))

HOT = "mqtransport.hot"
"""Key of a hot verb's own body in what botocore passes along."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Client:
    """One aiobotocore client, with a fast path beside it for the hot verbs.

    Attributes:
        slow: the client.
        fast: its fast path; None where that is switched off.
    """

    slow: Any
    fast: FastPath | None

    async def ask(self, operation: str, parameters: Mapping[str, Any]) -> Reply:
        """Make one request; raises whatever botocore or aiohttp raises."""
        fast = self.fast
        if fast is not None and fast.ready and operation in OPERATIONS:
            return await fast.ask(operation, parameters)
        reply: Reply = await getattr(self.slow, operation)(**parameters)
        own: Reply = reply.get(HOT, reply)
        return own


@dataclass(slots=True)
class Clients:
    """The open clients.

    Attributes:
        polls: for ReceiveMessage only: a settle never waits for a connection behind polls.
        control: for everything else.
        region: the region in use.
        custom_endpoint: whether requests go to a host that is not AWS's.
        chain: the default chain in use; None with an explicit key.
    """

    polls: Client
    control: Client
    region: str
    custom_endpoint: bool
    chain: ChainCredentials | None
    _stack: contextlib.AsyncExitStack

    async def aclose(self) -> None:
        """Close all connections within CLOSE_TIMEOUT_S; never raises on a dead link."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._stack.aclose()
        except (OSError, BotoCoreError, RuntimeError) as exc:
            # TimeoutError is an OSError. There is nobody left whom it would help.
            _log.debug("SQS: closing the connections failed: %s", type(exc).__name__)


async def open_clients(options: Options, clock: Clock) -> Clients:
    """Build both clients; reads the environment and AWS's files, makes no network call.

    Raises:
        ConfigurationError: no region, or an AWS configuration that cannot be used.
    """
    try:
        return await _open(options, clock)
    except (BotoCoreError, ValueError) as exc:
        raise ConfigurationError(
            f"SQS: the AWS configuration cannot be used ({type(exc).__name__}); check AWS_PROFILE, "
            "AWS_ENDPOINT_URL, the AWS configuration files, MQ_REGION and MQ_URL"
        ) from exc


async def _open(options: Options, clock: Clock) -> Clients:
    session = AioSession()
    region = resolve_region(
        options, os.environ, lambda: session.get_config_variable("region") or None
    )
    connection: dict[str, Any] = {"region_name": region, "endpoint_url": options.endpoint_url}
    chain = None
    if options.access_key is not None and options.secret_key is not None:
        given = Keys(options.access_key.get_secret_value(), options.secret_key.get_secret_value())
        connection["aws_access_key_id"] = given.access_key
        connection["aws_secret_access_key"] = given.secret_key
        keys = given.get_frozen_credentials
    else:
        chain = ChainCredentials(region, clock)
        session.register_component("credential_provider", chain)
        keys = chain.get_frozen_credentials
    async with contextlib.AsyncExitStack() as stack:

        async def client(read_s: float, connections: int) -> Client:
            fast = FastPath(keys, clock) if options.fast_path else None
            config = _config(options, read_s, connections, fast)
            made = session.create_client("sqs", config=config, **connection)
            slow = await stack.enter_async_context(made)
            slow.meta.events.register("before-parse.sqs", _keep_raw)
            slow.meta.events.register("before-send.sqs", _stream_large)
            for name in OPERATIONS.values():
                slow.meta.events.register(f"provide-client-params.sqs.{name}", _write_body)
                slow.meta.events.register(f"before-call.sqs.{name}", _put_body)
                slow.meta.events.register(f"before-parse.sqs.{name}", _read_body)
            return Client(slow, fast)

        polls = await client(limits.MAX_WAIT_S + options.timeout_s, options.poll_connections)
        control = await client(options.timeout_s, options.control_connections)
        custom = ".amazonaws.com" not in control.slow.meta.endpoint_url
        return Clients(polls, control, region, custom, chain, stack.pop_all())


def _keep_alive_socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket on which the kernel notices a peer that vanished, also while we wait.

    A host that is gone without a word (a NAT that forgot the connection) ends a poll within
    KEEP_ALIVE_IDLE_S + 3 probes. The deadline of every verb stands beside it.
    """
    family, kind, protocol = address[:3]
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        if (option := getattr(socket, name, None)) is not None:  # not every system has them
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def _config(options: Options, read_s: float, connections: int, fast: FastPath | None) -> AioConfig:
    further = {} if fast is None else {"http_session_cls": fast.session_class()}
    return AioConfig(
        # Shorter than the whole call, so that "never connected" shows as itself.
        connect_timeout=min(CONNECT_TIMEOUT_S, 0.6 * options.timeout_s),
        read_timeout=read_s,
        max_pool_connections=connections,
        # The library retries, with the message's id and a deadline; botocore must not.
        retries={"total_max_attempts": 1, "mode": "standard"},
        # A fixed text saves botocore's rebuilding of it: 16 to 18 % of a call (measured).
        user_agent="mqtransport",
        connector_args={"socket_factory": _keep_alive_socket},
        # The driver builds every parameter itself; 6 to 9 % of a batch call (measured).
        parameter_validation=False,
        **further,
    )


def _keep_raw(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    # botocore parses garbage with status 200 into {}, like an empty poll; see encoding.RAW.
    if response_dict["status_code"] < 300:
        customized_response_dict[RAW] = response_dict


# The three below spare botocore the bodies of the hot verbs: going through them shape by shape
# takes it 10 us per message each way, for three attributes (measured).


def _write_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any]:
    context[HOT] = write(params)
    return {"QueueUrl": params["QueueUrl"]}


def _put_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    params["body"] = context[HOT]


def _read_body(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    if response_dict["status_code"] < 300:
        reply = read(response_dict["body"])
        reply[RAW] = dict(response_dict)
        customized_response_dict[HOT] = reply
        response_dict["body"] = b"{}"


def _stream_large(request: Any, **_: Any) -> None:
    # aiohttp warns of large bodies in one piece (a ResourceWarning from 1 MiB on).
    if isinstance(request.body, bytes) and len(request.body) > LARGE_BYTES:
        request.body = io.BytesIO(request.body)

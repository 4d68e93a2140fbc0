"""The two aiobotocore clients; imported when connecting, because it needs the extra ``sqs``."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import socket
from dataclasses import dataclass
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, CredentialRetrievalError, NoCredentialsError

from mqtransport import limits
from mqtransport.brokers.sqs.encoding import RAW
from mqtransport.brokers.sqs.options import Options, resolve_region
from mqtransport.clock import Clock
from mqtransport.errors import ConfigurationError

CONNECT_TIMEOUT_S = 3.0
CLOSE_TIMEOUT_S = 2.0
LARGE_BYTES = 512 * 1024
"""Larger request bodies are streamed."""

KEEP_ALIVE_IDLE_S = 10
"""A connection that is silent for so long is probed; below the longest poll, 20 s."""

_KEEP_ALIVE = (("TCP_KEEPIDLE", KEEP_ALIVE_IDLE_S), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3))

RELOAD_INTERVAL_S = 30.0
"""At most this often refused credentials are looked up anew: a wrong key must not become a
storm of calls to the metadata service."""

_log = logging.getLogger(__name__)


# The ignores: aiobotocore ships no types, and stubs of botocore know only its synchronous form.
class ChainCredentials(AioCredentials):  # type: ignore[misc, unused-ignore]
    """The AWS default chain, looked up at the first call and, when refused, once more.

    botocore finds a chain's credentials once per session; a provider that refreshes itself
    (role, container, instance) does so below, but rotated files or environment variables
    would need a restart. Handed to a session as its component ``credential_provider`` and,
    by it, to its clients as their credentials.
    """

    def __init__(self, region: str, clock: Clock) -> None:
        super().__init__("", "", method="mqtransport-chain")
        self._region = region
        self._clock = clock
        self._lock = asyncio.Lock()
        self._loaded_at: float | None = None
        self._found: Any = None

    async def load_credentials(self) -> ChainCredentials:
        """Return itself: the session asks its provider for credentials."""
        return self

    async def get_frozen_credentials(self) -> Any:  # type: ignore[override, unused-ignore]
        """Return what to sign with now.

        Raises:
            NoCredentialsError: the chain has none.
            CredentialRetrievalError: a provider failed; without this its error would be
                taken for an answer of SQS.
        """
        async with self._lock:
            if self._loaded_at is None:
                self._found = await _retrieving(self._load())
                self._loaded_at = self._clock.monotonic()
        if self._found is None:
            raise NoCredentialsError()
        return await _retrieving(self._found.get_frozen_credentials())

    def refused(self) -> None:
        """Look the chain up again for the next call, at most once per RELOAD_INTERVAL_S."""
        loaded_at = self._loaded_at
        if loaded_at is not None and self._clock.monotonic() - loaded_at >= RELOAD_INTERVAL_S:
            _log.info("SQS: the credentials were refused; looking them up again")
            self._loaded_at = None

    async def _load(self) -> Any:
        # A new session, because a session remembers the configuration files it has read.
        session = AioSession()
        session.set_config_variable("region", self._region)
        return await session.get_credentials()


async def _retrieving(found: Any) -> Any:
    try:
        return await found
    except Exception as exc:
        raise CredentialRetrievalError(
            provider="default chain", error_msg=type(exc).__name__
        ) from exc


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

    polls: Any
    control: Any
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
        connection["aws_access_key_id"] = options.access_key.get_secret_value()
        connection["aws_secret_access_key"] = options.secret_key.get_secret_value()
    else:
        chain = ChainCredentials(region, clock)
        session.register_component("credential_provider", chain)
    poll_s = limits.MAX_WAIT_S + options.timeout_s
    async with contextlib.AsyncExitStack() as stack:
        polls, control = [
            await stack.enter_async_context(
                session.create_client("sqs", config=_config(options, read_s, pool), **connection)
            )
            for read_s, pool in (
                (poll_s, options.poll_connections),
                (options.timeout_s, options.control_connections),
            )
        ]
        for client in (polls, control):
            client.meta.events.register("before-parse.sqs", _keep_raw)
            client.meta.events.register("before-send.sqs", _stream_large)
        custom = ".amazonaws.com" not in control.meta.endpoint_url
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


def _config(options: Options, read_s: float, connections: int) -> AioConfig:
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
    )


def _keep_raw(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    # botocore parses garbage with status 200 into {}, like an empty poll; see encoding.RAW.
    if response_dict["status_code"] < 300:
        customized_response_dict[RAW] = response_dict


def _stream_large(request: Any, **_: Any) -> None:
    # aiohttp warns of large bodies in one piece (a ResourceWarning from 1 MiB on).
    if isinstance(request.body, bytes) and len(request.body) > LARGE_BYTES:
        request.body = io.BytesIO(request.body)

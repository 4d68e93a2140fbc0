"""From settings to a broker: reads URLs, imports only what is needed."""

from __future__ import annotations

import logging
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from mqtransport.broker import Broker
from mqtransport.clock import Clock
from mqtransport.errors import ConfigurationError
from mqtransport.settings import MQSettings

if TYPE_CHECKING:
    from mqtransport.brokers.sqlite.files import Synchronous

logger = logging.getLogger("mqtransport.settings")


def make_broker(settings: MQSettings, *, clock: Clock, random: Random) -> Broker:
    """Return the broker that the settings name; does no I/O.

    Raises:
        ConfigurationError: the URL or the combination of settings cannot be right, or an
            extra is not installed.
    """
    if settings.url is None:
        return _without_url(settings, clock, random)
    parts = _split(settings.url)
    if parts.scheme in ("http", "https"):
        if settings.broker != "sqs":
            raise ConfigurationError(
                f"MQ_URL is the plain {parts.scheme} endpoint of a broker; say which kind with "
                f"MQ_BROKER=sqs"
            )
        return _sqs(settings, clock, region=None, endpoint_url=settings.url)
    if settings.broker is not None and settings.broker != parts.scheme:
        raise ConfigurationError(
            f"MQ_BROKER is {settings.broker!r}, but MQ_URL names the broker {parts.scheme!r}; "
            f"drop one of them"
        )
    if parts.scheme == "memory":
        if parts.netloc or parts.path or parts.query:
            raise ConfigurationError("MQ_URL: nothing stands behind memory://")
        return _memory(clock, random)
    if parts.scheme == "sqs":
        return _sqs(settings, clock, region=parts.netloc or None, endpoint_url=_endpoint_of(parts))
    if parts.scheme == "sqlite":
        return _sqlite(parts, clock, random)
    raise ConfigurationError(
        f"MQ_URL names the unknown broker {parts.scheme!r}; supported are memory://, "
        f"sqlite:///file.db and sqs://region, or an http(s) endpoint with MQ_BROKER=sqs"
    )


def _without_url(settings: MQSettings, clock: Clock, random: Random) -> Broker:
    if settings.broker == "sqs":
        return _sqs(settings, clock, region=None, endpoint_url=None)
    if settings.broker == "sqlite":
        raise ConfigurationError(
            "MQ_BROKER is sqlite; say which file with MQ_URL=sqlite:///file.db"
        )
    if settings.broker not in (None, "memory"):
        raise ConfigurationError(
            f"MQ_BROKER is {settings.broker!r}; supported are memory and sqs, and sqlite with "
            f"MQ_URL=sqlite:///file.db"
        )
    if settings.broker is None:
        given = {"MQ_REGION": settings.region, "MQ_USERNAME": settings.username}
        if found := [name for name, value in given.items() if value is not None]:
            raise ConfigurationError(
                f"{' and '.join(found)} is set, but no broker; set MQ_BROKER=sqs, or remove it to "
                f"use the embedded memory broker"
            )
        # A warning, because servers such as uvicorn show nothing less: a deployment that forgot
        # its settings must not run on memory without anybody noticing.
        logger.warning(
            "no MQ_URL and no MQ_BROKER: using the embedded memory broker, whose messages end "
            "with this process (MQ_URL=memory:// says so without this warning)"
        )
    return _memory(clock, random)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - a bad port only shows when it is read
    except ValueError:
        # Not chained: the error quotes the URL, which may hold a secret.
        raise ConfigurationError("MQ_URL is no URL; an example is sqs://eu-west-1") from None
    if "@" in parts.netloc:
        raise ConfigurationError(
            "MQ_URL holds a user name or password; put them into MQ_USERNAME and MQ_PASSWORD"
        )
    if not parts.scheme or "://" not in url:
        raise ConfigurationError(
            "MQ_URL has no scheme; write memory://, sqlite:///file.db, sqs://region or an http(s) "
            "endpoint"
        )
    return parts


def _endpoint_of(parts: SplitResult) -> str | None:
    query = parse_qs(parts.query, keep_blank_values=True)
    endpoints = query.pop("endpoint_url", [])
    if query or len(endpoints) > 1 or parts.path not in ("", "/"):
        raise ConfigurationError(
            "MQ_URL: sqs:// takes a region and one option, endpoint_url, as in "
            "sqs://eu-west-1?endpoint_url=http://localhost:9324"
        )
    return endpoints[0] if endpoints else None


def _memory(clock: Clock, random: Random) -> Broker:
    from mqtransport.brokers.memory import MemoryBroker

    return MemoryBroker(clock=clock, random=random)


def _sqlite(parts: SplitResult, clock: Clock, random: Random) -> Broker:
    query = parse_qs(parts.query, keep_blank_values=True)
    modes = query.pop("synchronous", ["FULL"])
    path = unquote(parts.path)
    if parts.netloc or query or len(modes) > 1 or path in ("", "/") or path.endswith("/"):
        raise ConfigurationError(
            "MQ_URL: sqlite:// takes a file and one option, as in sqlite:///relative.db or "
            "sqlite:////absolute/path.db?synchronous=NORMAL"
        )
    if parts.fragment or "\0" in path:
        raise ConfigurationError("MQ_URL: in the file's name write # as %23, and no zero byte")
    mode = modes[0].upper()
    if mode not in ("FULL", "NORMAL"):
        raise ConfigurationError("MQ_URL: synchronous is FULL (the default) or NORMAL")
    try:
        from mqtransport.brokers.sqlite import SQLiteBroker
    except ImportError as missing:  # fcntl is for POSIX systems only
        raise ConfigurationError(
            f"the SQLite broker needs a POSIX system with Python's sqlite3 ({missing.name})"
        ) from None
    synchronous: Synchronous = "NORMAL" if mode == "NORMAL" else "FULL"
    # As SQLAlchemy writes it: three slashes are relative, four absolute.
    return SQLiteBroker(path[1:], synchronous=synchronous, clock=clock, random=random)


def _sqs(
    settings: MQSettings, clock: Clock, *, region: str | None, endpoint_url: str | None
) -> Broker:
    from mqtransport.brokers.sqs import SQSBroker

    if region is not None and settings.region is not None and region != settings.region:
        raise ConfigurationError(
            f"MQ_URL says region {region!r}, MQ_REGION says {settings.region!r}; drop one of them"
        )
    return SQSBroker(
        region=region or settings.region,
        endpoint_url=endpoint_url,
        access_key=settings.username,
        secret_key=settings.password,
        fast_path=settings.sqs_fast_path,
        clock=clock,
    )

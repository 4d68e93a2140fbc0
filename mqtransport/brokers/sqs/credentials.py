"""What requests are signed with: a key that was given, or AWS's default chain."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple

from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore.exceptions import CredentialRetrievalError, NoCredentialsError

from mqtransport.clock import Clock

RELOAD_INTERVAL_S = 30.0
"""At most this often refused credentials are looked up anew: a wrong key must not become a
storm of calls to the metadata service."""

_log = logging.getLogger(__name__)


class Keys(NamedTuple):
    """What to sign with now; the names are botocore's."""

    access_key: str
    secret_key: str
    token: str | None = None

    async def get_frozen_credentials(self) -> Keys:
        """Return itself: keys that were given do not change."""
        return self

    def __repr__(self) -> str:
        return "Keys(...)"


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

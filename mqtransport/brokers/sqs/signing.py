"""AWS's Signature Version 4, as far as SQS's JSON protocol needs it; pure."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote, urlsplit

from botocore.utils import normalize_url_path

from mqtransport.brokers.sqs.credentials import Keys

STAMP = "%Y%m%dT%H%M%SZ"
"""Form of the time in signatures."""

Headers = Mapping[str, str]


@dataclass(slots=True)
class Signer:
    """Signature Version 4 for the POSTs of one endpoint.

    AWS, "Create a signed AWS API request"; proven equal to botocore's by a property test.

    Attributes:
        host: value of the Host header.
        path: the URL's path, normalised and quoted.
        region: region of the scope.
        service: service of the scope.
        fixed: further signed headers, the same for every request; lower case names.
    """

    host: str
    path: str
    region: str
    service: str
    fixed: Headers
    _day: str = ""
    _secret: str = ""
    _day_key: bytes = b""
    _stamped: tuple[int, str] = field(default=(-1, ""))

    def headers(self, keys: Keys, target: str, body: bytes, now: float) -> dict[str, str]:
        """Return the headers of a request, ``Authorization`` among them.

        Args:
            keys: what to sign with.
            target: the operation, as ``X-Amz-Target`` names it.
            body: the whole body.
            now: seconds since 1970.
        """
        stamp = self._stamp(int(now))
        headers = {**self.fixed, "x-amz-date": stamp, "x-amz-target": target}
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        # Sorted by name, trimmed, inner spaces joined: the canonical form.
        signing = sorted([*headers.items(), ("host", self.host)])
        lines = "\n".join([f"{name}:{' '.join(value.split())}" for name, value in signing])
        names = ";".join([name for name, _ in signing])
        request = f"POST\n{self.path}\n\n{lines}\n\n{names}\n{sha256(body).hexdigest()}"
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        digest = sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        signature = _hmac(self._key(keys.secret_key, stamp[:8]), text).hex()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def _stamp(self, second: int) -> str:
        if self._stamped[0] != second:
            self._stamped = second, time.strftime(STAMP, time.gmtime(second))
        return self._stamped[1]

    def _key(self, secret: str, day: str) -> bytes:
        if (secret, day) != (self._secret, self._day):
            key = _hmac(f"AWS4{secret}".encode(), day)
            for part in (self.region, self.service, "aws4_request"):
                key = _hmac(key, part)
            self._day_key, self._secret, self._day = key, secret, day
        return self._day_key

    def __repr__(self) -> str:
        return f"Signer({self.host!r}, {self.region!r})"  # the key stays out


def host_of(url: str) -> str:
    """Return the Host header of a request to the URL."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    standard = {"http": 80, "https": 443}.get(parts.scheme)
    return host if parts.port in (None, standard) else f"{host}:{parts.port}"


def canonical_path(url: str) -> str:
    """Return the URL's path as it is signed."""
    return quote(normalize_url_path(urlsplit(url).path), safe="/~")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")

"""The options of the SQS driver: checked when given, completed from the environment later."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from mqtransport.errors import ConfigurationError

EMULATOR_REGION = "us-east-1"
"""For a custom endpoint without a region: emulators take any, and this is their own default."""

# botocore.utils.validate_region_name and is_valid_endpoint_url, so that a mistake shows at
# construction and not at the first call.
_REGION = re.compile(r"(?![0-9]+\Z)(?!-)[A-Za-z0-9-]{1,63}(?<!-)\Z")
_HOST = re.compile(r"(?:(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)*(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.?\Z")


@dataclass(frozen=True, slots=True)
class Options:
    """What an SQSBroker was given, checked; secrets are masked in its repr.

    Attributes:
        region: AWS region; None to look it up when connecting.
        endpoint_url: endpoint of an emulator or a VPC; None for AWS's own.
        access_key: access key id; None, together with the next, for AWS's default chain.
        secret_key: secret access key.
        timeout_s: seconds after which a call counts as failed.
        poll_connections: most connections for receiving.
        control_connections: most connections for everything else.
        fast_path: whether the hot verbs may leave out botocore's pipeline.
    """

    region: str | None
    endpoint_url: str | None
    access_key: SecretStr | None
    secret_key: SecretStr | None
    timeout_s: float
    poll_connections: int
    control_connections: int
    fast_path: bool = True

    def __post_init__(self) -> None:
        if (self.access_key is None) != (self.secret_key is None):
            missing = "access_key" if self.access_key is None else "secret_key"
            raise ConfigurationError(
                f"SQS: {missing} is missing; give both access_key and secret_key (settings "
                "MQ_USERNAME and MQ_PASSWORD), or neither for the AWS default chain"
            )
        if self.region is not None:
            _check_region(self.region, "region (setting MQ_REGION)")
        if self.endpoint_url is not None:
            _check_endpoint(self.endpoint_url)
        if not 0 < self.timeout_s < float("inf"):
            raise ConfigurationError(f"SQS: timeout_s must be above 0, not {self.timeout_s}")
        for name in ("poll_connections", "control_connections"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"SQS: {name} must be at least 1")


def secret(value: SecretStr | str | None) -> SecretStr | None:
    """Return the value masked against accidental printing; an empty one counts as not given."""
    if value is None:
        return None
    masked = value if isinstance(value, SecretStr) else SecretStr(value)
    return masked if masked.get_secret_value() else None


def resolve_region(
    options: Options, environ: Mapping[str, str], profile_region: Callable[[], str | None]
) -> str:
    """Return the region to use: given, AWS_REGION, AWS_DEFAULT_REGION, profile, in this order.

    botocore itself ignores AWS_REGION, which AWS sets in its containers and functions.

    Raises:
        ConfigurationError: there is none, or it is malformed.
    """
    if options.region is not None:
        return options.region
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if found := environ.get(name):
            return _check_region(found, name)
    if found := profile_region():
        return _check_region(found, "the region of the AWS profile")
    endpoints = (options.endpoint_url, environ.get("AWS_ENDPOINT_URL_SQS"))
    if any(endpoints) or environ.get("AWS_ENDPOINT_URL"):
        return EMULATOR_REGION
    raise ConfigurationError(
        "SQS: no region is known; set MQ_REGION (or AWS_REGION), for example eu-central-1"
    )


def _check_region(region: str, source: str) -> str:
    if not _REGION.match(region):
        raise ConfigurationError(f"SQS: {source} is no region name; eu-central-1 is one")
    return region


def _check_endpoint(url: str) -> None:
    # The URL itself stays out of the message: people put passwords into URLs.
    if why := _why_no_endpoint(url):
        raise ConfigurationError(
            f"SQS: endpoint_url (setting MQ_URL) {why}; an example is http://localhost:9324"
        )


def _why_no_endpoint(url: str) -> str | None:
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        return "contains white space or control characters"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "has a malformed host or port"
    if parts.scheme not in ("http", "https"):
        return "does not start with http:// or https://"
    if parts.username is not None or parts.password is not None:
        return "contains a user name; use access_key and secret_key"
    if parts.query or parts.fragment:
        return "has a query or a fragment"
    if not host or not (_HOST.match(host) or _is_address(host)):
        return "has a malformed host (letters, digits, '-' and '.' only)"
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

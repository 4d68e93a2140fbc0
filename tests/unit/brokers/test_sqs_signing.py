"""The signer signs as botocore does: the same request, the same keys, the same second."""

import datetime
from unittest.mock import patch

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as some

from mqtransport.brokers.sqs.credentials import Keys
from mqtransport.brokers.sqs.signing import Signer, canonical_path, host_of

WORDS = some.text("abcdefgh-0123456789", min_size=1, max_size=20)
KEY_IDS = some.text(some.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=40)
SECRETS = some.text(some.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)
TOKENS = some.none() | some.text(some.characters(codec="ascii", min_codepoint=32), min_size=1)
HOSTS = some.sampled_from(
    ["localhost", "sqs.eu-west-1.amazonaws.com", "Queue.Example.org", "127.0.0.1", "[::1]"]
)
PORTS = some.sampled_from(["", ":80", ":443", ":4566"])
PATHS = some.sampled_from(["/", "", "/a/../b", "//x//", "/q~u/é ä", "/%20x", "/000000000000/q"])
SECONDS = some.floats(min_value=0, max_value=4_102_444_800)  # until the year 2100
MODES = some.sampled_from([{}, {"x-amzn-query-mode": "true"}])


def signed_by_botocore(
    url: str, headers: dict[str, str], body: bytes, keys: Keys, region: str, now: float
) -> dict[str, str]:
    request = AWSRequest(method="POST", url=url, headers=headers, data=body)
    credentials = Credentials(keys.access_key, keys.secret_key, keys.token)
    then = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    with patch.object(auth, "get_current_datetime", lambda: then):
        auth.SigV4Auth(credentials, "sqs", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@settings(max_examples=500, deadline=None)
@given(
    scheme=some.sampled_from(["http", "https"]),
    host=HOSTS,
    port=PORTS,
    path=PATHS,
    target=WORDS,
    mode=MODES,
    body=some.binary(max_size=2000),
    keys=some.builds(Keys, KEY_IDS, SECRETS, TOKENS),
    region=WORDS,
    now=SECONDS,
)
def test_the_signature_is_botocore_s(
    scheme: str,
    host: str,
    port: str,
    path: str,
    target: str,
    mode: dict[str, str],
    body: bytes,
    keys: Keys,
    region: str,
    now: float,
) -> None:
    url = f"{scheme}://{host}{port}{path}"
    fixed = {"content-type": "application/x-amz-json-1.0"} | mode
    theirs = signed_by_botocore(url, fixed | {"x-amz-target": target}, body, keys, region, now)
    signer = Signer(host_of(url), canonical_path(url), region, "sqs", fixed)
    ours = signer.headers(keys, target, body, now)
    assert {name.lower(): value for name, value in ours.items()} == theirs


@settings(max_examples=100, deadline=None)
@given(
    changes=some.lists(
        some.tuples(some.builds(Keys, KEY_IDS, SECRETS, TOKENS), SECONDS), min_size=2, max_size=8
    )
)
def test_a_kept_key_never_outlives_its_day_or_its_credentials(
    changes: list[tuple[Keys, float]],
) -> None:
    fixed = {"content-type": "application/x-amz-json-1.0"}
    kept = Signer("localhost", "/", "eu-west-1", "sqs", fixed)
    for keys, now in changes:
        fresh = Signer("localhost", "/", "eu-west-1", "sqs", fixed)
        assert kept.headers(keys, "t", b"", now) == fresh.headers(keys, "t", b"", now)


def test_a_signer_shows_no_key() -> None:
    signer = Signer("localhost", "/", "eu-west-1", "sqs", {})
    signer.headers(Keys("CANARYid", "CANARYsecret", "CANARYtoken"), "t", b"", 0.0)
    assert "CANARY" not in repr(signer) + repr(Keys("CANARYid", "CANARYsecret", "CANARYtoken"))

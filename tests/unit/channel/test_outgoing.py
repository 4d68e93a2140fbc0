"""Packing: what is refused before it is sent, and export and import as plain data."""

import json
import traceback
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    Field,
    Secret,
    SecretBytes,
    SecretStr,
    ValidationError,
    field_serializer,
)

from mqtransport import wire
from mqtransport.channel.outgoing import Packer, export_record, import_record, summarise
from mqtransport.errors import ImportMessageError, MessageRefusedError, UsageError
from mqtransport.limits import why_refused
from mqtransport.message import NO_EXTRAS, SendExtras

CANARY = "cAnArY-7f3a"


class FixedClock:
    def monotonic(self) -> float:
        return 5.0

    def time(self) -> float:
        return 1_750_000_000.5


PACKER = Packer("orders", 1000, FixedClock())


class Order(BaseModel):
    id: int
    note: str | None = None


def test_a_packed_message_carries_id_time_and_headers() -> None:
    extras = SendExtras(delay_s=3, group="g", dedup_id="d", headers={"a": "b"})
    entry = PACKER.pack("n", '{"id":1}', "m1", extras)
    facts = wire.read_facts(entry.message.attributes)
    assert facts == wire.Facts("m1", 1_750_000_000.5, {"a": "b"})
    message = entry.message
    assert (message.delay_s, message.group, message.dedup_id) == (3, "g", "d")
    assert (entry.name, message.id, message.body) == ("n", "m1", '{"id":1}')


def random_text(size: int) -> str:
    from random import Random

    source = Random(1)
    return "".join(chr(source.randint(0x21, 0x7E)) for _ in range(size))


@pytest.mark.parametrize(
    ("text", "extras", "said"),
    [
        (json.dumps({"s": random_text(3000)}), NO_EXTRAS, "the limit is 1000"),
        ("{}", SendExtras(delay_s=900.5), "delay_s is 900.5"),
        ("{}", SendExtras(delay_s=-1), "delay_s is -1"),
        ("{}", SendExtras(delay_s=float("nan")), "delay_s is nan"),
        ("{}", SendExtras(group=""), "group must be"),
        ("{}", SendExtras(group="with blank"), "group must be"),
        ("{}", SendExtras(dedup_id="x" * 129), "dedup_id must be"),
        ("{}", SendExtras(headers={"h": "x" * 2000}), "the limit is 1000"),
        ("", NO_EXTRAS, "the body is empty"),
    ],
)
def test_what_the_queue_would_refuse_is_refused_before_it_is_sent(
    text: str, extras: SendExtras, said: str
) -> None:
    with pytest.raises(MessageRefusedError, match=said) as caught:
        PACKER.pack("n", text, "m1", extras)
    error = caught.value
    assert (error.message_id, error.outcome, error.queue) == ("m1", "not_sent", "orders")


@pytest.mark.parametrize("message_id", ["", "a b", "ü", "x" * 129, "a\n", 7, None])
def test_an_illegal_message_id_is_a_usage_error(message_id: Any) -> None:
    with pytest.raises(UsageError, match="message_id"):
        PACKER.pack("n", "{}", message_id, NO_EXTRAS)


@pytest.mark.parametrize("headers", [{"a": 1}, {1: "a"}, {"a": None}, {"a": b"x"}])
def test_a_header_that_is_no_text_is_a_usage_error(headers: Any) -> None:
    with pytest.raises(UsageError, match="header"):
        PACKER.pack("n", "{}", "m1", SendExtras(headers=headers))


@pytest.mark.parametrize(
    ("extras", "says"),
    [
        ({"delay_s": "5"}, "delay_s must be a number, not str"),
        ({"delay_s": True}, "delay_s must be a number, not bool"),
        ({"group": 5}, "group must be a str, not int"),
        ({"dedup_id": b"d"}, "dedup_id must be a str, not bytes"),
        ({"headers": ["a"]}, "headers must be a mapping"),
    ],
)
def test_an_extra_of_a_wrong_type_is_a_usage_error(extras: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        PACKER.pack("n", "{}", "m1", SendExtras(**extras))


# -- models and bodies ----------------------------------------------------------------------


def test_fields_are_validated_and_coerced_as_the_model_says() -> None:
    assert PACKER.text_of_fields("n", Order, "m1", {"id": "7"}) == '{"id":7,"note":null}'


def test_fields_may_be_given_by_alias_and_travel_by_alias() -> None:
    class Aliased(BaseModel):
        order_id: int = Field(alias="orderId")
        note: str | None = None

    assert json.loads(PACKER.text_of_fields("n", Aliased, "m1", {"orderId": 7})) == {
        "orderId": 7,
        "note": None,
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_lacks_is_refused(value: float) -> None:
    class Price(BaseModel):
        amount: float

    with pytest.raises(MessageRefusedError):
        PACKER.text_of_model("n", Price(amount=value), "m1")


NAN = float("nan")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (float | None, NAN),
        (Any, NAN),
        (list[float | None], [NAN]),
        (deque[float], [1.0, NAN]),
        (tuple[float, ...], (1.0, NAN)),
        (set[float], {1.0, NAN}),
        (frozenset[tuple[float, int]], {(NAN, 1)}),
        (dict[str, list[float]], {"a": [NAN]}),
    ],
)
def test_a_number_that_json_lacks_is_not_turned_into_null(annotation: Any, value: Any) -> None:
    class Price(BaseModel):
        amount: annotation

    with pytest.raises(MessageRefusedError, match="field 'amount' holds nan"):
        PACKER.text_of_model("n", Price(amount=value), "m1")


class OwnMask(Secret[str]):
    def _display(self) -> str:
        return "**/**"


class Login(BaseModel):
    user: str
    password: SecretStr


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (SecretStr, CANARY),
        (SecretBytes, CANARY.encode()),
        (Secret[str], CANARY),
        (OwnMask, CANARY),
        (Any, SecretStr(CANARY)),
        (deque[SecretStr], [CANARY]),
        (set[SecretStr], {CANARY}),
        (dict[SecretStr, int], {CANARY: 1, CANARY + "2": 2}),
        (Login, {"user": "u", "password": CANARY}),
    ],
)
def test_a_secret_is_refused_and_not_sent_as_asterisks(annotation: Any, value: Any) -> None:
    class Holder(BaseModel):
        id: int = 1
        held: annotation

    with pytest.raises(MessageRefusedError, match="field 'held' holds a secret") as caught:
        PACKER.text_of_model("n", Holder(held=value), "m1")
    assert "field_serializer" in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("held", [SecretStr(CANARY), Login(user="u", password=CANARY)])  # type: ignore[arg-type]
def test_a_secret_in_a_body_is_refused_too(held: object) -> None:
    with pytest.raises(MessageRefusedError, match="field 'held' holds a secret"):
        PACKER.text_of_body("n", {"id": 1, "held": [held]}, "m1")
    assert PACKER.text_of_body("n", {"note": "*" * 20}, "m1")


@pytest.mark.parametrize("when", ["always", "json"])
def test_a_secret_with_a_serializer_is_sent_as_it_says(when: Any) -> None:
    class Key(BaseModel):
        key: SecretStr
        note: str | None = None
        empty: SecretStr = SecretStr("")

        @field_serializer("key", when_used=when)
        def show(self, value: SecretStr) -> str:
            return value.get_secret_value()

    for note in (None, "**********"):  # whatever makes the packer look closer
        text = PACKER.text_of_model("n", Key(key=SecretStr(CANARY), note=note), "m1")
        assert json.loads(text) == {"key": CANARY, "note": note, "empty": ""}


def test_asterisks_that_are_no_secret_are_sent() -> None:
    assert PACKER.text_of_model("n", Order(id=1, note="*" * 20), "m1")


@pytest.mark.parametrize(
    "note",
    [
        "some",
        pytest.param(
            None,
        ),
        pytest.param(
            "annulled",
        ),
    ],
)
def test_whether_a_message_is_refused_does_not_hang_on_a_null_in_it(note: str | None) -> None:
    class OneWay(BaseModel):
        id: int = Field(serialization_alias="ID")
        note: str | None = None

    assert PACKER.text_of_model("n", OneWay(id=1, note=note), "m1")


def test_a_set_of_models_is_sent_whatever_stands_beside_it() -> None:
    class Tag(BaseModel, frozen=True):
        name: str

    class Tagged(BaseModel):
        tags: set[Tag]
        note: str | None = None

    for note in ("some", None):
        text = PACKER.text_of_model("n", Tagged(tags={Tag(name="t")}, note=note), "m1")
        assert json.loads(text) == {"tags": [{"name": "t"}], "note": note}


def test_a_model_that_writes_its_own_json_is_asked_for_it() -> None:
    class Own(BaseModel):
        id: int

        def model_dump_json(self, **_: Any) -> str:
            return '{"own":true}'

    assert PACKER.text_of_model("n", Own(id=1), "m1") == '{"own":true}'


def test_the_json_is_what_pydantic_writes_by_alias() -> None:
    class Odd(BaseModel):
        model_config = {"ser_json_bytes": "base64", "ser_json_timedelta": "float"}
        id: int = Field(serialization_alias="the-id")
        data: bytes = b"\xff\xfe"
        at: datetime = datetime(2025, 1, 2, tzinfo=UTC)
        took: timedelta = timedelta(seconds=1.5)
        text: str = "\x7f\x00é\ud7ff"

    message = Odd(id=1)
    assert PACKER.text_of_model("n", message, "m1") == message.model_dump_json(by_alias=True)


def test_a_model_without_a_json_form_is_refused() -> None:
    class Odd(BaseModel):
        model_config = {"arbitrary_types_allowed": True}
        thing: object

    with pytest.raises(MessageRefusedError, match="no JSON form"):
        PACKER.text_of_model("n", Odd(thing=object()), "m1")


@pytest.mark.parametrize("body", [[], "text", None, 7, [("a", 1)]])
def test_a_body_that_is_no_mapping_is_a_usage_error(body: Any) -> None:
    with pytest.raises(UsageError, match="must be a mapping"):
        PACKER.text_of_body("n", body, "m1")


def nested(depth: int) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for _ in range(depth):
        body = {"a": body}
    return body


def cyclic() -> dict[str, Any]:
    body: dict[str, Any] = {}
    body["self"] = body
    return body


@pytest.mark.parametrize(
    "body",
    [{"a": object()}, {"a": b"\xff"}, nested(5000), cyclic(), {"a": 10**5000}, {object(): 1}],
    ids=["object", "bytes", "deep", "cyclic", "huge number", "key"],
)
def test_a_body_without_a_json_form_is_refused(body: dict[Any, Any]) -> None:
    with pytest.raises(MessageRefusedError, match="no JSON form"):
        PACKER.text_of_body("n", body, "m1")


def test_no_refusal_repeats_a_value() -> None:
    class Strict(BaseModel):
        a: int
        b: int
        c: int
        d: int

    with pytest.raises(MessageRefusedError, match="and 1 more") as caught:
        PACKER.text_of_fields("n", Strict, "m1", dict.fromkeys("abcd", CANARY))
    assert CANARY not in str(caught.value)


def test_a_summary_names_fields_and_never_values() -> None:
    class Inner(BaseModel):
        n: int

    class Outer(BaseModel):
        inner: list[Inner]

    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": [{"n": CANARY}]})
    assert summarise(caught.value).startswith("inner.0.n: ")
    assert CANARY not in summarise(caught.value)


def test_a_summary_does_not_repeat_a_discriminator() -> None:
    from typing import Literal

    class A(BaseModel):
        kind: Literal["a"]

    class B(BaseModel):
        kind: Literal["b"]

    class Outer(BaseModel):
        inner: A | B = Field(discriminator="kind")

    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": {"kind": CANARY}})
    assert CANARY not in summarise(caught.value)


# -- export and import ----------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=10,
)


@given(
    body=st.dictionaries(st.text("abc", max_size=3), json_values, max_size=3),
    extras=st.builds(
        SendExtras,
        delay_s=st.none() | st.floats(0, 900),
        group=st.none() | st.text("abc", min_size=1, max_size=5),
        dedup_id=st.none() | st.text("abc", min_size=1, max_size=5),
        headers=st.none() | st.dictionaries(st.text("ab", max_size=2), st.text("ab", max_size=2)),
    ),
)
def test_an_exported_message_comes_back_as_it_was(body: dict[str, Any], extras: SendExtras) -> None:
    packer = Packer("orders", 100_000, FixedClock())
    entry = packer.pack("n", packer.text_of_body("n", body, "m1"), "m1", extras)
    record = json.loads(json.dumps(export_record(entry)))
    back = import_record(packer, record, "unused")
    assert back.message == entry.message
    assert back.name == entry.name
    assert back.waiter is None


def test_a_compressed_message_is_exported_in_plain() -> None:
    text = PACKER.text_of_body("n", {"s": "A" * 5000}, "m1")
    entry = PACKER.pack("n", text, "m1", NO_EXTRAS)
    assert entry.message.attributes["Compression"].value == "on"
    assert export_record(entry) == {"name": "n", "body": {"s": "A" * 5000}, "id": "m1"}


def test_a_record_of_an_older_service_gets_a_new_id() -> None:
    entry = import_record(PACKER, {"name": "n", "body": {"x": 1}}, "new")
    assert (entry.message.id, entry.message.body) == ("new", '{"x":1}')
    assert why_refused(entry.message, max_bytes=1000) is None


@pytest.mark.parametrize(
    "record",
    [
        None,
        "text",
        [],
        {},
        {"name": "n"},
        {"body": {}},
        {"name": "n", "body": "text"},
        {"name": "n", "body": None},
        {"name": "a b", "body": {}},
        {"name": 7, "body": {}},
        {"name": None, "body": {}},
        {"name": "n", "body": {"a": object()}},
        {"name": "n", "body": {}, "id": "a b"},
        {"name": "n", "body": {}, "id": 7},
        {"name": "n", "body": {}, "delay_s": "3"},
        {"name": "n", "body": {}, "delay_s": 901},
        {"name": "n", "body": {}, "delay_s": float("nan")},
        {"name": "n", "body": {}, "group": 7},
        {"name": "n", "body": {}, "headers": {"a": 1}},
        {"name": "n", "body": {"s": random_text(3000)}},
        *(
            pytest.param(
                {"name": "n", "body": {}, "headers": headers},
            )
            for headers in (["a"], "text", 7)
        ),
    ],
)
def test_a_broken_record_is_an_import_error(record: Any) -> None:
    with pytest.raises(ImportMessageError, match="'orders'"):
        import_record(PACKER, record, "new")

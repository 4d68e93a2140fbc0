"""The wire: both directions with the older 0.3.x wire, hostile input, dead letter copies."""

import base64
import gzip
import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtransport import wire
from mqtransport.channel.outgoing import Packer, export_record, import_record
from mqtransport.clock import SystemClock
from mqtransport.errors import MalformedMessageError, MessageRefusedError, UsageError
from mqtransport.limits import MAX_MESSAGE_BYTES, illegal_character, size_bytes, why_refused
from mqtransport.message import NO_EXTRAS, Attribute, DeadLetter, RawDelivery

VECTORS = json.loads((Path(__file__).parents[1] / "data/wire_vectors.json").read_text())["vectors"]
VECTOR_IDS = [vector["name"] for vector in VECTORS]


def string(value: str) -> Attribute:
    return Attribute("String", value)


def delivery(body: str = "{}", **attributes: Attribute | str) -> RawDelivery:
    named = {k: string(v) if isinstance(v, str) else v for k, v in attributes.items()}
    return RawDelivery("broker-id", "receipt", body, {"Name": string("n")} | named, 1)


def packer(max_bytes: int = MAX_MESSAGE_BYTES) -> Packer:
    return Packer("orders", max_bytes, SystemClock())


def old_reader(body: str, attributes: dict[str, Attribute]) -> tuple[str, Any]:
    """Read a message as services on the 0.3.x wire do."""
    assert attributes["Name"].data_type == attributes["Compression"].data_type == "String"
    if attributes["Compression"].value == "on":
        body = gzip.decompress(base64.b85decode(body)).decode("utf-8")
    else:
        assert attributes["Compression"].value == "off"
    return str(attributes["Name"].value), json.loads(body)


# -- the older wire, both directions --------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=VECTOR_IDS)
def test_a_message_of_an_older_service_is_read(vector: dict[str, Any]) -> None:
    message = vector["message"]
    attributes = {
        name: Attribute(one["DataType"], one["StringValue"])
        for name, one in message["MessageAttributes"].items()
    }
    raw = RawDelivery("id", "receipt", message["MessageBody"], attributes, 1)
    envelope = wire.read_envelope(raw)
    assert envelope.name == vector["name"]
    assert envelope.facts == wire.Facts()
    assert json.loads(wire.body_text(raw, compressed=envelope.compressed)) == vector["body"]


@pytest.mark.parametrize("vector", VECTORS, ids=VECTOR_IDS)
def test_an_older_service_reads_what_we_write(vector: dict[str, Any]) -> None:
    packing = packer(vector["max_size_bytes"])
    text = packing.text_of_body(vector["name"], vector["body"], "id")
    message = packing.pack(vector["name"], text, "id", NO_EXTRAS).message
    attributes = dict(message.attributes)
    theirs = vector["message"]["MessageAttributes"]
    for shared in ("Name", "Compression"):
        assert attributes[shared] == Attribute("String", theirs[shared]["StringValue"])
    assert set(attributes) == {"Name", "Compression", "MQ"}
    assert old_reader(message.body, attributes) == (vector["name"], vector["body"])
    assert size_bytes(message.body, attributes) <= vector["max_size_bytes"]


def test_the_vectors_cover_both_forms_of_body() -> None:
    forms = {
        vector["message"]["MessageAttributes"]["Compression"]["StringValue"] for vector in VECTORS
    }
    assert forms == {"on", "off"}


@pytest.mark.parametrize("spare_bytes", [0, -1])
def test_compression_begins_one_byte_above_the_limit(spare_bytes: int) -> None:
    text = json.dumps({"s": "A" * 1000})
    _, plain, size = wire.pack("n", text, "{}", max_bytes=10_000)
    assert size == size_bytes(text, plain)
    body, attributes, size = wire.pack("n", text, "{}", max_bytes=size + spare_bytes)
    assert size == size_bytes(body, attributes)
    assert attributes["Compression"].value == ("off" if spare_bytes == 0 else "on")
    assert old_reader(body, attributes) == ("n", json.loads(text))


def test_the_same_text_is_compressed_to_the_same_body() -> None:
    assert wire.compress('{"a": 1}') == wire.compress('{"a": 1}')


# -- every character ------------------------------------------------------------------------

texts = st.text(
    alphabet=st.one_of(
        st.characters(),
        st.characters(categories=["Cs", "Cc"]),
        st.sampled_from("\ufffe\uffff\ufffd\u2028\x00\x7f\ud800\udfff\U0001f600\\\"'<&"),
    )
)


@given(value=texts, key=texts, compressed=st.booleans())
def test_any_text_round_trips_or_is_refused(value: str, key: str, compressed: bool) -> None:
    packing = packer(150 if compressed else MAX_MESSAGE_BYTES)
    try:
        text = packing.text_of_body("n", {key: value, "filler": "A" * 200}, "id")
        message = packing.pack("n", text, "id", NO_EXTRAS).message
    except MessageRefusedError:
        has_surrogate = any("\ud800" <= character <= "\udfff" for character in key + value)
        assert has_surrogate or compressed
        return
    assert why_refused(message, max_bytes=packing.max_bytes) is None
    assert illegal_character(message.body) is None
    for attribute in message.attributes.values():
        assert illegal_character(str(attribute.value)) is None
    expected = {key: value, "filler": "A" * 200}
    assert old_reader(message.body, dict(message.attributes)) == ("n", expected)
    raw = RawDelivery("b", "r", message.body, message.attributes, 1)
    envelope = wire.read_envelope(raw)
    assert json.loads(wire.body_text(raw, compressed=envelope.compressed)) == expected


@pytest.mark.parametrize("character", ["\ufffe", "\uffff", "\x00", "\x1f", "\x7f", "\U0001f600"])
def test_an_awkward_character_is_carried(character: str) -> None:
    packing = packer()
    text = packing.text_of_body("n", {"s": character}, "id")
    message = packing.pack("n", text, "id", NO_EXTRAS).message
    assert illegal_character(message.body) is None
    assert json.loads(message.body) == {"s": character}


@pytest.mark.parametrize("body", [{"s": "\ud800"}, {"\udfff": 1}, {"s": ["x\udc00y"]}])
def test_a_lone_surrogate_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(MessageRefusedError):
        packer().text_of_body("n", body, "id")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_lacks_is_refused(value: float) -> None:
    with pytest.raises(MessageRefusedError):
        packer().text_of_body("n", {"x": value}, "id")


@given(
    message_id=st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=9),
    sent_at=st.floats(-1e9, 1e11),
    headers=st.none() | st.dictionaries(texts, texts, max_size=3),
)
def test_new_facts_are_packed_as_any_others(
    message_id: str, sent_at: float, headers: dict[str, str] | None
) -> None:
    facts = wire.Facts(message_id, sent_at, headers or {})
    assert wire.new_facts(message_id, sent_at, headers) == wire.pack_facts(facts)


@given(headers=st.dictionaries(texts, texts, max_size=3))
def test_any_headers_round_trip_as_legal_characters(headers: dict[str, str]) -> None:
    packed = wire.pack_facts(wire.Facts(headers=headers))
    assert packed.isascii()
    assert illegal_character(packed) is None
    assert wire.read_facts({"MQ": string(packed)}).headers == headers


# -- hostile bodies -------------------------------------------------------------------------


def compressed(data: bytes) -> str:
    return base64.b85encode(gzip.compress(data, mtime=0)).decode()


@pytest.fixture(scope="module")
def bomb() -> str:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1024 * 1024)
    data = b"".join(packer.compress(zeros) for _ in range(200)) + packer.flush()
    return base64.b85encode(data).decode()


def test_a_bomb_stops_at_the_bound_with_bounded_memory(bomb: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessageError, match="more than"):
            wire.decompress(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The output grows by copying, so up to twice the bound, and b85decode's own lists.
    assert peak < 3 * wire.MAX_DECOMPRESSED_BYTES + 40 * len(bomb)


def test_a_body_at_the_bound_is_unpacked_and_one_byte_more_is_not() -> None:
    assert wire.decompress(compressed(b"A" * 100), max_bytes=100) == "A" * 100
    with pytest.raises(MalformedMessageError):
        wire.decompress(compressed(b"A" * 101), max_bytes=100)


@pytest.mark.parametrize(
    "body",
    [
        compressed(b'{"a": 1}' * 100)[:-10],
        base64.b85encode(gzip.compress(b'{"a": 1}')[:-3]).decode(),
        base64.b85encode(b"not gzip at all").decode(),
        base64.b85encode(gzip.compress(b"{}")[:-8] + bytes(8)).decode(),
        "no base85 \x7f",
        "\U0001f600",
        "0",
        "",
        "~~~~~",
        compressed(b"\xff\xfe"),
    ],
    ids=[
        "cut",
        "cut checksum",
        "not gzip",
        "wrong checksum",
        "not base85",
        "not ascii",
        "one character",
        "empty",
        "overflow",
        "not utf-8",
    ],
)
def test_a_broken_compressed_body_is_malformed(body: str) -> None:
    with pytest.raises(MalformedMessageError):
        wire.decompress(body)


def test_nothing_behind_the_compressed_body_is_dropped_silently() -> None:
    data = gzip.compress(b'{"a": 1}') + b"trailing"
    with pytest.raises(MalformedMessageError):
        wire.decompress(base64.b85encode(data).decode())


def test_a_gzip_of_several_members_is_read_as_older_services_read_it_or_refused() -> None:
    body = base64.b85encode(gzip.compress(b'{"a": ') + gzip.compress(b"1}")).decode()
    try:
        text = wire.decompress(body)
    except MalformedMessageError:
        return
    assert json.loads(text) == {"a": 1}


@given(body=st.text(max_size=200))
def test_any_compressed_body_is_read_or_malformed(body: str) -> None:
    try:
        wire.decompress(body)
    except MalformedMessageError:
        return


def test_what_we_send_can_be_unpacked_by_our_own_reader() -> None:
    packing = packer()
    body = {"s": "A" * (wire.MAX_DECOMPRESSED_BYTES + 1)}
    try:
        entry = packing.pack("n", packing.text_of_body("n", body, "id"), "id", NO_EXTRAS)
    except MessageRefusedError:
        return
    raw = RawDelivery("b", "r", entry.message.body, entry.message.attributes, 1)
    assert wire.body_text(raw, compressed=True)
    assert export_record(entry)["body"] == body


# -- attributes -----------------------------------------------------------------------------


def test_unknown_attributes_are_ignored() -> None:
    raw = delivery(Compression="off", Foreign="x", Other=Attribute("Binary", b"\x00"))
    assert wire.read_envelope(raw) == wire.Envelope("n", False, wire.Facts())


@pytest.mark.parametrize(
    "facts",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"text"',
        "[" * 100_000,
        '{"id": 7, "ts": "x", "h": [], "dl": 1}',
        '{"ts": NaN}',
        '{"ts": 1e400}',
        '{"ts": ' + "9" * 400 + "}",
        '{"ts": ' + "9" * 5000 + "}",
        '{"h": {"a": 1, "b": null}}',
        pytest.param(
            '{"ts": true}',
        ),
        Attribute("Binary", b'{"id": "x"}'),
    ],
)
def test_a_broken_facts_attribute_costs_only_what_it_carried(facts: str | Attribute) -> None:
    envelope = wire.read_envelope(delivery(Compression="off", MQ=facts))
    assert envelope == wire.Envelope("n", False, wire.Facts())


def test_the_sound_part_of_a_half_broken_facts_attribute_is_kept() -> None:
    facts = wire.read_facts({"MQ": string('{"id": "x", "ts": "?", "h": {"a": "b", "c": 1}}')})
    assert facts == wire.Facts(id="x", headers={"a": "b"})


def test_facts_round_trip() -> None:
    reason = DeadLetter("ValueError", "why", 3, "orders", 1.5, 2.25, "MC_Order")
    facts = wire.Facts("id-1", 1_750_000_000.123, {"traceparent": "00-x"}, reason)
    assert wire.read_facts({"MQ": string(wire.pack_facts(facts))}) == facts


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"Name": Attribute("Binary", b"n")},
        {"Name": string("")},
        {"Name": string("with blank")},
        {"Name": string("ümlaut")},
        {"Name": string("n\n")},
        {"Name": string("n" * 129)},
        {"Name": string("n"), "Compression": string("ON")},
        {"Name": string("n"), "Compression": string("")},
        {"Name": string("n"), "Compression": string("zstd")},
    ],
)
def test_a_message_without_legal_name_or_compression_is_malformed(
    attributes: dict[str, Attribute],
) -> None:
    with pytest.raises(MalformedMessageError):
        wire.read_envelope(RawDelivery("b", "r", "{}", attributes, 1))


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("orders.placed", True),
        ("a", True),
        ("A-b_c.9", True),
        ("_access_check", True),
        ("n" * 128, True),
        ("n" * 129, False),
        ("", False),
        ("a b", False),
        ("a\n", False),
        ("a/b", False),
        ("é", False),
        ("٣", False),
        ("a\x00", False),
    ],
)
def test_message_names(name: str, legal: bool) -> None:
    assert wire.is_message_name(name) is legal
    if legal:
        packer().pack(name, "{}", "id", NO_EXTRAS)
    else:
        with pytest.raises(UsageError):
            packer().pack(name, "{}", "id", NO_EXTRAS)


# -- dead letter copies ---------------------------------------------------------------------

REASON = DeadLetter("ValueError", "w" * 500, 5, "orders", 1.0, 2.0, "MC_Order")


def dead_letter(
    raw: RawDelivery, *, max_bytes: int = MAX_MESSAGE_BYTES, max_attributes: int = 10
) -> tuple[dict[str, Attribute], bool]:
    return wire.dead_letter_attributes(
        raw, REASON, max_bytes=max_bytes, max_attributes=max_attributes
    )


def test_a_dead_letter_copy_carries_the_reason_and_keeps_the_rest() -> None:
    raw = delivery(
        '{"x":1}', Compression="off", Mine="v", MQ='{"id":"m1","ts":5,"h":{"a":"b"},"new":[1]}'
    )
    before = dict(raw.attributes)
    attributes, complete = dead_letter(raw)
    assert complete
    assert raw.attributes == before
    assert {k: v for k, v in attributes.items() if k != "MQ"} == {
        k: v for k, v in before.items() if k != "MQ"
    }
    facts = wire.read_facts(attributes)
    assert (facts.id, facts.headers, facts.sent_at) == ("m1", {"a": "b"}, 0.005)
    assert facts.dead_letter == REASON
    assert json.loads(str(attributes["MQ"].value))["new"] == [1]


def test_a_dead_letter_copy_of_an_older_message_keeps_the_brokers_id() -> None:
    attributes, _ = dead_letter(delivery(Compression="off"))
    assert wire.read_facts(attributes).id == "broker-id"


def test_a_reason_is_shortened_then_left_out_at_the_size_limit() -> None:
    raw = delivery("x" * 1000, Compression="off", MQ='{"id":"m1"}')
    original = size_bytes(raw.body, raw.attributes)
    found = []
    for spare in range(0, 900):
        attributes, complete = dead_letter(raw, max_bytes=original + spare)
        reason = wire.read_facts(attributes).dead_letter
        assert complete is (reason is not None)
        assert size_bytes(raw.body, attributes) <= original + spare
        found.append(None if reason is None else len(reason.text))
        if reason is None:
            assert attributes == raw.attributes
        else:
            assert (reason.error, reason.attempts, reason.queue) == ("ValueError", 5, "orders")
    assert found[0] is None
    assert found[-1] == 500
    seen = list(dict.fromkeys(found))
    assert seen == [None, 0, 80, 500]


def test_an_original_above_the_limit_is_returned_untouched() -> None:
    raw = delivery("x" * 1000, Compression="off")
    assert dead_letter(raw, max_bytes=10) == (dict(raw.attributes), False)


def test_ten_foreign_attributes_leave_no_room_for_a_reason() -> None:
    raw = delivery(**{f"a{n}": "v" for n in range(9)})
    assert len(raw.attributes) == 10
    assert dead_letter(raw) == (dict(raw.attributes), False)


def test_ten_attributes_with_our_own_among_them_carry_the_reason() -> None:
    raw = delivery(**{f"a{n}": "v" for n in range(8)}, MQ='{"id":"m1"}')
    attributes, complete = dead_letter(raw)
    assert complete
    assert len(attributes) == 10


@pytest.mark.parametrize("foreign", ["text", "[]", Attribute("Binary", b"\x01")])
def test_a_foreign_attribute_under_our_name_is_left_alone(foreign: str | Attribute) -> None:
    raw = delivery(MQ=foreign)
    assert dead_letter(raw) == (dict(raw.attributes), False)


def test_a_message_dead_lettered_twice_carries_the_latest_reason() -> None:
    first, _ = dead_letter(delivery(Compression="off"))
    again = RawDelivery("other-broker-id", "r", "{}", first, 1)
    later = DeadLetter("KeyError", "t", 1, "orders-dlq", None, 9.0, None)
    attributes, _ = wire.dead_letter_attributes(again, later, max_bytes=10_000, max_attributes=10)
    facts = wire.read_facts(attributes)
    assert facts.dead_letter == later
    assert facts.id == "broker-id"


# -- export and import ----------------------------------------------------------------------


def test_an_exported_message_is_imported_as_it_was() -> None:
    packing = packer(400)
    text = packing.text_of_body("n", {"s": "A" * 1000}, "m1")
    entry = packing.pack("n", text, "m1", NO_EXTRAS)
    record = json.loads(json.dumps(export_record(entry)))
    assert record == {"name": "n", "body": {"s": "A" * 1000}, "id": "m1"}
    back = import_record(packing, record, "unused")
    assert (back.name, back.message.id, back.message.body) == ("n", "m1", entry.message.body)

import string
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtransport import limits
from mqtransport.limits import illegal_character, is_fifo, is_queue_name, size_bytes, why_refused
from mqtransport.message import Attribute, Outgoing

LEGAL_RANGES = [(0x9, 0xA), (0xD, 0xD), (0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF)]
NAME_CHARACTERS = string.ascii_letters + string.digits + "_-"

any_text = st.text(st.characters(codec=None, exclude_categories=()))
legal_text = any_text.filter(lambda text: illegal_character(text) is None and text != "")
names = st.text(NAME_CHARACTERS, min_size=1, max_size=256).filter(
    lambda name: not name.lower().startswith(("aws.", "amazon."))
)
values = st.one_of(
    st.builds(Attribute, st.sampled_from(["String", "String.json"]), legal_text),
    st.builds(Attribute, st.sampled_from(["Number", "Number.int"]), st.integers().map(str)),
    st.builds(
        Attribute, st.sampled_from(["Binary", "Binary.gzip"]), st.binary(min_size=1, max_size=99)
    ),
)
attribute_maps = st.dictionaries(names, values, max_size=10)


def outgoing(
    body: str = "x",
    attributes: Mapping[str, Attribute] | None = None,
    *,
    delay_s: float | None = None,
    group: str | None = None,
    dedup_id: str | None = None,
) -> Outgoing:
    return Outgoing("id", body, attributes or {}, delay_s, group, dedup_id)


def why(message: Outgoing, max_bytes: int = limits.MAX_MESSAGE_BYTES) -> str | None:
    return why_refused(message, max_bytes=max_bytes)


def test_every_code_point_is_judged_as_sqs_judges_it() -> None:
    legal = {c for first, last in LEGAL_RANGES for c in range(first, last + 1)}
    wrong = [c for c in range(0x110000) if (illegal_character(chr(c)) is None) != (c in legal)]
    assert wrong == []


@given(any_text)
def test_the_first_illegal_character_is_the_one_named(text: str) -> None:
    illegal = [c for c in text if not any(a <= ord(c) <= b for a, b in LEGAL_RANGES)]
    assert illegal_character(text) == (f"U+{ord(illegal[0]):04X}" if illegal else None)


def test_an_illegal_character_is_named_at_any_place() -> None:
    assert illegal_character("a" * 100_000 + "\x00") == "U+0000"
    assert illegal_character("\ud800") == "U+D800"
    assert illegal_character("ok\ufffe\uffff") == "U+FFFE"


@given(any_text, attribute_maps)
def test_the_size_is_what_utf8_takes(body: str, attributes: Mapping[str, Attribute]) -> None:
    expected = len(body.encode("utf-8", "surrogatepass"))
    for name, (data_type, value) in attributes.items():
        raw = value if isinstance(value, bytes) else value.encode()
        expected += len((name + data_type).encode()) + len(raw)
    assert size_bytes(body, attributes) == expected


@pytest.mark.parametrize(
    ("body", "size"),
    [("", 0), ("abc", 3), ("\u00e9", 2), ("\u20ac", 3), ("\U0001f600", 4), ("\ud800", 3)],
)
def test_the_size_of_a_body_counts_bytes_not_characters(body: str, size: int) -> None:
    assert size_bytes(body, {}) == size


def test_the_size_counts_names_types_and_values() -> None:
    attributes = {"Name": Attribute("String", "\u00e9"), "B": Attribute("Binary.gz", b"\x00\xff")}
    assert size_bytes("{}", attributes) == 2 + (4 + 6 + 2) + (1 + 9 + 2)


@given(legal_text, attribute_maps)
def test_a_legal_message_is_refused_exactly_below_its_size(
    body: str, attributes: Mapping[str, Attribute]
) -> None:
    message = outgoing(body, attributes)
    size = size_bytes(body, attributes)
    assert why(message, size) is None
    refused = why(message, size - 1)
    assert refused is not None
    assert str(size) in refused
    assert str(size - 1) in refused


@given(any_text, st.dictionaries(any_text, st.tuples(any_text, st.one_of(any_text, st.binary()))))
def test_no_message_whatever_breaks_the_check(
    body: str, raw: Mapping[str, tuple[str, str | bytes]]
) -> None:
    attributes = {name: Attribute(*pair) for name, pair in raw.items()}
    reason = why(outgoing(body, attributes, group=body, dedup_id=body))
    assert reason is None or reason


@given(any_text.filter(lambda text: len(text) > 3))
def test_a_reason_never_holds_the_body(body: str) -> None:
    secret = f"secret-{body}-secret\x00"
    assert "secret" not in (why(outgoing(secret)) or "")


def test_the_vendors_numbers() -> None:
    assert limits.MAX_MESSAGE_BYTES == 1024 * 1024
    assert limits.MAX_DELAY_S == 15 * 60
    assert limits.MAX_LEASE_S == 12 * 3600
    assert (limits.MAX_ATTRIBUTES, limits.MAX_BATCH, limits.MAX_WAIT_S) == (10, 10, 20)
    body = "x" * limits.MAX_MESSAGE_BYTES
    assert why(outgoing(body)) is None
    assert "1048577 bytes" in (why(outgoing(body + "x")) or "")


def test_an_empty_body_is_refused() -> None:
    assert why(outgoing("")) == "the body is empty"


@pytest.mark.parametrize("delay_s", [None, 0, 0.5, 900, 900.0])
def test_delays_up_to_fifteen_minutes_pass(delay_s: float | None) -> None:
    assert why(outgoing(delay_s=delay_s)) is None


@pytest.mark.parametrize("delay_s", [-1, -0.001, 900.001, 901, float("inf"), float("nan")])
def test_other_delays_are_refused(delay_s: float) -> None:
    assert "delay_s" in (why(outgoing(delay_s=delay_s)) or "")


@pytest.mark.parametrize("value", ["a", "g" * 128, string.punctuation, "0-9_A.z"])
def test_legal_groups_and_dedup_ids_pass(value: str) -> None:
    assert why(outgoing(group=value, dedup_id=value)) is None


@pytest.mark.parametrize("value", ["", "g" * 129, "a b", "\u00e9", "a\n", "\t", "\x7f"])
def test_illegal_groups_and_dedup_ids_are_refused(value: str) -> None:
    assert "group" in (why(outgoing(group=value)) or "")
    assert "dedup_id" in (why(outgoing(dedup_id=value)) or "")


def test_ten_attributes_pass_and_eleven_do_not() -> None:
    attributes = {f"A{n}": Attribute("String", "x") for n in range(11)}
    assert "11 attributes" in (why(outgoing(attributes=attributes)) or "")
    del attributes["A0"]
    assert why(outgoing(attributes=attributes)) is None


@pytest.mark.parametrize(
    "name", ["a", "A_b-c.d9", "a" * 256, "aws", "awsome", "amazon_x", "-", "_", "9"]
)
def test_legal_attribute_names_pass(name: str) -> None:
    assert why(outgoing(attributes={name: Attribute("String", "x")})) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".a",
        "a.",
        "a..b",
        "a b",
        "a\n",
        "\u00e9",
        "a" * 257,
        "AWS.x",
        "aws.x",
        "Amazon.x",
        "a/b",
    ],
)
def test_illegal_attribute_names_are_refused(name: str) -> None:
    assert "attribute name" in (why(outgoing(attributes={name: Attribute("String", "x")})) or "")


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        ("String", "x"),
        ("String.json", "{}"),
        ("Number", "1"),
        ("Number.int-64_x", "-1.5e3"),
        ("Binary", b"\x00"),
        ("Binary.gzip", b"\xff"),
    ],
)
def test_legal_types_pass(data_type: str, value: str | bytes) -> None:
    assert why(outgoing(attributes={"a": Attribute(data_type, value)})) is None


@pytest.mark.parametrize(
    "data_type",
    ["", "string", "Str", "StringX", "String.", "String\n", "Map", "Number. x", "String.a\n"],
)
def test_illegal_types_are_refused(data_type: str) -> None:
    assert "data type" in (why(outgoing(attributes={"a": Attribute(data_type, "x")})) or "")


@pytest.mark.parametrize(
    ("attribute", "found"),
    [
        (Attribute("String", ""), "is empty"),
        (Attribute("Binary", b""), "is empty"),
        (Attribute("String", b"x"), "does not fit"),
        (Attribute("Number", b"1"), "does not fit"),
        (Attribute("Binary", "x"), "does not fit"),
        (Attribute("String", "a\x00b"), "U+0000"),
        (Attribute("String.json", "\ud800"), "U+D800"),
    ],
)
def test_illegal_attribute_values_are_refused(attribute: Attribute, found: str) -> None:
    assert found in (why(outgoing(attributes={"a": attribute})) or "")


@given(st.text(NAME_CHARACTERS, min_size=1, max_size=75))
def test_queue_names_of_legal_characters_are_legal_with_and_without_fifo(name: str) -> None:
    assert is_queue_name(name)
    assert is_queue_name(f"{name}.fifo")
    assert is_fifo(f"{name}.fifo")
    assert not is_fifo(name)


@pytest.mark.parametrize("name", ["a" * 80, "a" * 75 + ".fifo", "-", "_9"])
def test_queue_names_at_the_limit_are_legal(name: str) -> None:
    assert is_queue_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".fifo",
        "a" * 81,
        "a" * 76 + ".fifo",
        "a b",
        "a.b",
        "a.fifo.fifo",
        "a\n",
        "a\n.fifo",
        "a.FIFO",
    ],
)
def test_other_queue_names_are_not(name: str) -> None:
    assert not is_queue_name(name)

"""What a message may hold: the double's own reading of AWS's rules, and its digests."""

import base64
import hashlib

import pytest
from moto.sqs.models import Message as MotoMessage

from mqtransport.testing.sqs_double.contents import (
    AttributeValue,
    raw_size_bytes,
    read_contents,
    size_bytes,
)
from mqtransport.testing.sqs_double.digests import md5_of_attributes, md5_of_body
from mqtransport.testing.sqs_double.errors import SQSError

MIB = 1_048_576


def text(value, data_type="String"):
    return {"DataType": data_type, "StringValue": value}


def read(body="x", limit_bytes=MIB, **params):
    return read_contents({"MessageBody": body, **params}, limit_bytes=limit_bytes)


def read_attribute(name="a", **value):
    return read(MessageAttributes={name: value}).attributes[name]


def code_of(*args, **kwargs):
    with pytest.raises(SQSError) as caught:
        read(*args, **kwargs)
    return caught.value.kind.code


@pytest.mark.parametrize(
    "body", ["\t\n\r", " ", "\ud7ff", "\ue000", "\ufffd", "\U00010000", "\U0010ffff", "😀"]
)
def test_every_documented_character_is_accepted(body):
    assert read(body).body == body


@pytest.mark.parametrize(
    "character",
    ["\x00", "\x08", "\x0b", "\x0c", "\x1f", chr(0xD800), chr(0xDFFF), "\ufffe", "\uffff"],
)
def test_every_other_character_is_refused_in_body_and_attribute(character):
    assert code_of("ok" + character) == "InvalidMessageContents"
    assert code_of(MessageAttributes={"a": text(character)}) == "InvalidMessageContents"


def test_an_empty_or_absent_body_is_a_missing_parameter():
    assert code_of("") == code_of(None) == "MissingParameter"


def test_the_limit_counts_utf8_bytes_and_not_characters():
    assert read("é" * 512, 1_024)
    assert code_of("é" * 512 + "x", 1_024) == "InvalidParameterValue"


def test_names_types_and_values_of_attributes_count_towards_the_limit():
    attributes = {
        "name": text("é"),
        "bin": {"DataType": "Binary", "BinaryValue": base64.b64encode(b"\xff" * 4).decode()},
    }
    size = len("name") + len("String") + 2 + len("bin") + len("Binary") + 4
    assert read("x" * (1_024 - size), 1_024, MessageAttributes=attributes)
    assert code_of("x" * (1_025 - size), 1_024, MessageAttributes=attributes) == (
        "InvalidParameterValue"
    )


def test_the_size_of_an_unchecked_entry_is_the_size_of_the_checked_one():
    for length in range(1, 7):
        params = {
            "MessageBody": "héllo",
            "MessageAttributes": {
                "b": {
                    "DataType": "Binary",
                    "BinaryValue": base64.b64encode(b"x" * length).decode(),
                },
                "s": text("ä"),
            },
        }
        contents = read_contents(params, limit_bytes=MIB)
        assert raw_size_bytes(params) == size_bytes(contents.body, contents.attributes)


def test_ten_attributes_are_accepted_and_eleven_are_not():
    assert read(MessageAttributes={f"a{i}": text("v") for i in range(10)})
    eleven = {f"a{i}": text("v") for i in range(11)}
    assert code_of(MessageAttributes=eleven) == "InvalidParameterValue"


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "x" * 256, "awsome", "amazonia", "AWS"])
def test_a_legal_attribute_name_is_accepted(name):
    assert read_attribute(name, DataType="String", StringValue="v").value == "v"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 257,
        ".a",
        "a.",
        "a..b",
        "a b",
        "ä",
        "a\n",
        "AWS.x",
        "aws.x",
        "Amazon.x",
        "aMaZoN.x",
    ],
)
def test_an_illegal_attribute_name_is_refused(name):
    assert code_of(MessageAttributes={name: text("v")}) == "InvalidParameterValue"


@pytest.mark.parametrize("data_type", ["String", "Number", "String.uuid", "Number.int-64_x"])
def test_a_type_may_have_a_label(data_type):
    assert read_attribute(DataType=data_type, StringValue="1").data_type == data_type


@pytest.mark.parametrize(
    "data_type", ["", None, "string", "Text", "StringX", "String.", "String." + "x" * 250, "Int.x"]
)
def test_an_illegal_type_is_refused(data_type):
    assert code_of(MessageAttributes={"a": text("v", data_type)}) == "InvalidParameterValue"


@pytest.mark.parametrize("number", ["0", "-1.5", "+7", "1e126", ".5", "9" * 38, "1" + "0" * 100])
def test_a_number_within_aws_s_precision_is_accepted(number):
    assert read_attribute(DataType="Number", StringValue=number).value == number


@pytest.mark.parametrize(
    "number", ["x", "1,5", "NaN", "Infinity", "9" * 39, "1e127", "1e-129", "٣"]
)
def test_what_is_no_number_is_refused_as_number(number):
    assert code_of(MessageAttributes={"a": text(number, "Number")}) == "InvalidParameterValue"


@pytest.mark.parametrize(
    "value",
    [
        {"DataType": "String", "StringValue": ""},
        {"DataType": "String"},
        {"DataType": "Binary", "BinaryValue": ""},
        {"DataType": "Binary", "StringValue": "x"},
        {"DataType": "String", "BinaryValue": "eA=="},
        {"DataType": "String", "StringValue": "x", "BinaryValue": "eA=="},
    ],
)
def test_an_empty_or_mismatched_value_is_refused(value):
    assert code_of(MessageAttributes={"a": value}) == "InvalidParameterValue"


def test_list_values_are_unsupported_and_bad_base64_is_malformed():
    lists = {"DataType": "String", "StringListValues": ["x"]}
    assert code_of(MessageAttributes={"a": lists}).endswith("UnsupportedOperation")
    garbage = {"DataType": "Binary", "BinaryValue": "!!!"}
    assert code_of(MessageAttributes={"a": garbage}) == "MalformedInput"


@pytest.mark.parametrize("group", ["g", "x" * 128, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"])
def test_a_group_on_a_standard_queue_is_accepted(group):
    assert read(MessageGroupId=group).group == group


@pytest.mark.parametrize("group", ["", "x" * 129, "a b", "ä", "a\n"])
def test_an_illegal_group_is_refused(group):
    assert code_of(MessageGroupId=group) == "InvalidParameterValue"


def test_a_deduplication_id_on_a_standard_queue_is_refused():
    assert code_of(MessageDeduplicationId="d") == "InvalidParameterValue"


def test_only_a_wellformed_trace_header_is_a_system_attribute():
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"
    assert read(MessageSystemAttributes={"AWSTraceHeader": text(header)}).trace_header == header
    for wrong in ({"Other": text(header)}, {"AWSTraceHeader": text("nonsense")}):
        assert code_of(MessageSystemAttributes=wrong) == "InvalidParameterValue"


def test_a_system_attribute_does_not_count_towards_the_size():
    header = "Root=1-5759e988-bd862e3fe1be46a994272793"
    full = "x" * 1_024
    assert read(full, 1_024, MessageSystemAttributes={"AWSTraceHeader": text(header)}).body == full


def test_the_digest_of_a_body_is_md5_of_its_utf8_bytes():
    assert md5_of_body("hello") == "5d41402abc4b2a76b9719d911017c592"
    assert md5_of_body("é") == hashlib.md5("é".encode()).hexdigest()


def test_the_digest_of_attributes_follows_the_documented_layout():
    def part(data):
        return len(data).to_bytes(4, "big") + data

    expected = (
        part(b"b") + part(b"Binary.png") + b"\x02" + part(b"\x00\xff")
        + part(b"n") + part(b"Number") + b"\x01" + part(b"12")
        + part(b"s") + part(b"String") + b"\x01" + part("é".encode())
    )  # fmt: skip
    attributes = {
        "s": AttributeValue("String", "é"),
        "n": AttributeValue("Number", "12"),
        "b": AttributeValue("Binary.png", b"\x00\xff"),
    }
    assert md5_of_attributes(attributes) == hashlib.md5(expected).hexdigest()


def test_the_digest_of_attributes_is_the_one_of_moto():
    raw = {
        "Name": text("messages.rand"),
        "Count": text("3.5", "Number.float"),
        "Blob": {"DataType": "Binary", "BinaryValue": base64.b64encode(b"\x00\x01").decode()},
    }
    theirs = MotoMessage("id", "body", {})
    # moto's model holds binary values decoded.
    theirs.message_attributes = raw | {"Blob": {"DataType": "Binary", "BinaryValue": b"\x00\x01"}}
    assert md5_of_attributes(read(MessageAttributes=raw).attributes) == theirs.attribute_md5

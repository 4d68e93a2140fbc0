"""What a send promises."""

from __future__ import annotations

from mqtransport.errors import BrokerError, RefusedError
from mqtransport.message import Attribute, Outgoing
from mqtransport.testing.conformance.bench import Bench, confirmed, listing_verbs, refusal
from mqtransport.testing.conformance.checks import claim, same
from mqtransport.testing.conformance.running import case

BODIES = (
    '{"id": 1, "name": "x", "nested": {"a": [1, 2.5, null, true]}}',
    '{"text": "gr\u00fc\u00df dich, \u65e5\u672c\u8a9e, \u05e9\u05dc\u05d5\u05dd"}',
    "line one\nline two\ttabbed",
    "<a href=\"x\">&amp; 'quoted' \\ %41 +</a>",
    "  spaces around  ",
    "x",
    "\u00e9" * 30_000,
)

LIMIT_BYTES = 2048
"""A size limit that every broker with limits can be set to (SQS: at least 1,024)."""


class Sending:
    """Cases about ``send``."""

    @case
    async def test_bodies_come_back_byte_exact(self, bench: Bench) -> None:
        """JSON, Unicode, white space, markup and long text arrive as they were sent."""
        for start in range(0, len(BODIES), bench.capabilities.max_batch):
            await bench.send(*BODIES[start : start + bench.capabilities.max_batch])
        taken = await bench.take(len(BODIES))
        same(sorted(d.body for d in taken), sorted(BODIES), "bodies")

    @case
    async def test_characters_beyond_the_basic_plane_come_back_exact(self, bench: Bench) -> None:
        """Emoji and other characters from U+10000 on arrive as they were sent."""
        body = '{"mood": "\U0001f600\U0001f9d1\u200d\U0001f680", "last": "\U0010ffff"}'
        await bench.send(body)
        same((await bench.take_one()).body, body, "body")

    @case
    async def test_carriage_returns_come_back_exact(self, bench: Bench) -> None:
        """No layer between turns CR LF into LF."""
        await bench.send("one\r\ntwo\rthree")
        same((await bench.take_one()).body, "one\r\ntwo\rthree", "body")

    @case
    async def test_attributes_of_every_type_come_back_exact(self, bench: Bench) -> None:
        """As many as allowed: text, labelled types, numbers as text, every byte value."""
        count = min(10, bench.capabilities.max_attributes)
        attributes = {
            "Binary": Attribute("Binary", bytes(range(256))),
            "Text": Attribute("String", "gr\u00fc\u00df\tdich\n"),
            "Number": Attribute("Number", "-123.45"),
            "Labelled": Attribute("String.json", '{"a": 1}'),
            "Labelled.Number": Attribute("Number.int", "7"),
            "Labelled-Binary": Attribute("Binary.gzip", b"\x1f\x8b\x00"),
        }
        while len(attributes) < count:
            attributes[f"more_{len(attributes)}"] = Attribute("String", f"value {len(attributes)}")
        attributes = dict(list(attributes.items())[:count])
        confirmed(await bench.broker.send(bench.queue, [bench.outgoing("{}", attributes)]))
        same(dict((await bench.take_one()).attributes), attributes, "attributes")

    @case
    async def test_a_message_without_attributes_has_none(self, bench: Bench) -> None:
        """Nothing is added on the way."""
        confirmed(await bench.broker.send(bench.queue, [bench.outgoing("bare", {})]))
        same(dict((await bench.take_one()).attributes), {}, "attributes")

    @case
    async def test_each_message_of_a_batch_keeps_its_own_attributes(self, bench: Bench) -> None:
        """Attributes are not mixed up between neighbours."""
        wanted = {f"m{n}": {"N": Attribute("Number", str(n))} for n in range(3)}
        batch = [bench.outgoing(body, attributes) for body, attributes in wanted.items()]
        confirmed(await bench.broker.send(bench.queue, batch))
        got = {d.body: dict(d.attributes) for d in await bench.take(3)}
        same(got, wanted, "attributes by body")

    @case
    async def test_send_answers_item_by_item_in_order(self, bench: Bench) -> None:
        """The id in place n is the id under which message n is delivered."""
        bodies = [f"m{n}" for n in range(bench.capabilities.max_batch)]
        ids = await bench.send(*bodies)
        same(len(set(ids)), len(bodies), "different ids")
        got = {d.broker_id: d.body for d in await bench.take(len(bodies))}
        same(got, dict(zip(ids, bodies, strict=True)), "body by id")

    @case
    async def test_a_full_batch_arrives_whole(self, bench: Bench) -> None:
        """``max_batch`` messages in one call are confirmed and delivered."""
        bodies = [f"m{n}" for n in range(bench.capabilities.max_batch)]
        await bench.send(*bodies)
        same(sorted(d.body for d in await bench.take(len(bodies))), sorted(bodies), "bodies")

    @case
    async def test_an_oversize_item_fails_alone(self, bench: Bench) -> None:
        """It is refused in its place; its neighbours arrive."""
        queue = await bench.limited_queue(LIMIT_BYTES)
        await _one_bad_item(bench, queue, bench.outgoing("x" * (LIMIT_BYTES + 1)))

    @case
    async def test_an_item_with_an_illegal_character_fails_alone(self, bench: Bench) -> None:
        """What the broker cannot carry is refused in its place, never altered or dropped."""
        await _one_bad_item(bench, bench.queue, bench.outgoing("nul \x00 inside"))

    @case
    async def test_an_empty_body_fails_alone(self, bench: Bench) -> None:
        """SQS carries no empty body, so no broker here does."""
        await _one_bad_item(bench, bench.queue, bench.outgoing(""))

    @case
    async def test_an_item_with_too_many_attributes_fails_alone(self, bench: Bench) -> None:
        """One attribute more than ``max_attributes`` is refused in its place."""
        many = bench.capabilities.max_attributes + 1
        attributes = {f"A{n}": Attribute("String", "x") for n in range(many)}
        await _one_bad_item(bench, bench.queue, bench.outgoing("{}", attributes))

    @case
    async def test_a_delay_above_the_limit_fails_alone(self, bench: Bench) -> None:
        """It is refused in its place, never clipped."""
        delay_s = bench.capabilities.max_delay_s + 1
        await _one_bad_item(bench, bench.queue, bench.outgoing("late", delay_s=delay_s))

    @case
    async def test_the_size_limit_is_exact_and_counts_attributes(self, bench: Bench) -> None:
        """A message of exactly the limit passes; one byte more is refused."""
        queue = await bench.limited_queue(LIMIT_BYTES)
        attributes = {"Name": Attribute("String", "\u00e9"), "B": Attribute("Binary", b"12345")}
        # Names, types and values: Name+String+2 bytes, B+Binary+5 bytes.
        room = LIMIT_BYTES - (4 + 6 + 2) - (1 + 6 + 5)
        fits = bench.outgoing("x" * room, attributes)
        over = bench.outgoing("x" * (room + 1), attributes)
        first, second = await bench.broker.send(queue, [fits, over])
        confirmed([first])
        claim(isinstance(second, RefusedError), f"one byte more is refused, not {second!r}")
        same((await bench.take_one(queue=queue)).body, fits.body, "body of exactly the limit")

    @case
    async def test_a_call_with_too_many_items_is_refused_whole(self, bench: Bench) -> None:
        """More than ``max_batch`` items raise RefusedError, and nothing happens."""
        many = bench.capabilities.max_batch + 1
        batch = [bench.outgoing(f"m{n}") for n in range(many)]
        receipts = [f"receipt-{n}" for n in range(many)]
        for verb, call in listing_verbs(bench.broker, bench.queue, batch, receipts).items():
            await refusal(call(), RefusedError, f"{verb} of {many} items")
        await bench.claim_nothing_ready("messages of a refused batch")

    @case
    async def test_a_call_without_items_is_refused(self, bench: Bench) -> None:
        """An empty list raises RefusedError."""
        for verb, call in listing_verbs(bench.broker, bench.queue, [], []).items():
            await refusal(call(), RefusedError, f"{verb} of no items")

    @case
    async def test_a_batch_above_max_batch_bytes_is_refused_whole(self, bench: Bench) -> None:
        """Legal messages that are too large together raise RefusedError; none is queued."""
        limits = bench.capabilities
        items = limits.max_batch_bytes // limits.max_message_bytes + 1
        bench.need(items <= limits.max_batch, "no batch of legal messages can be too large")
        size = limits.max_batch_bytes // items + 1
        batch = [bench.outgoing("x" * size) for _ in range(items)]
        await refusal(bench.broker.send(bench.queue, batch), RefusedError, "too many bytes")
        await bench.claim_nothing_ready("messages of a refused batch")

    @case
    async def test_a_group_is_accepted_as_a_hint_on_standard_queues(self, bench: Bench) -> None:
        """It changes nothing about the delivery; a broker may or may not give it back."""
        batch = [bench.outgoing("a", group="g1"), bench.outgoing("b", group="g1")]
        confirmed(await bench.broker.send(bench.queue, batch))
        taken = await bench.take(2)
        same(sorted(d.body for d in taken), ["a", "b"], "bodies of one group, taken together")
        for delivery in taken:
            claim(delivery.group in ("g1", None), f"group is the hint or None: {delivery.group!r}")

    @case
    async def test_a_message_without_a_group_comes_back_without_one(self, bench: Bench) -> None:
        """No group is made up."""
        await bench.send("alone")
        same((await bench.take_one()).group, None, "group")


async def _one_bad_item(bench: Bench, queue: str, bad: Outgoing) -> None:
    batch = [bench.outgoing("first"), bad, bench.outgoing("last")]
    answers: list[str | BrokerError] = await bench.broker.send(queue, batch)
    same(len(answers), 3, "answers")
    claim(isinstance(answers[1], RefusedError), f"the bad item is refused, not {answers[1]!r}")
    confirmed([answers[0], answers[2]])
    taken = await bench.take(2, queue=queue)
    same(
        {d.broker_id: d.body for d in taken},
        {answers[0]: "first", answers[2]: "last"},
        "the neighbours",
    )
    await bench.claim_nothing_ready("the refused item", queue=queue)

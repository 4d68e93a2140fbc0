"""A queue's own size limit holds, also when an operator lowers it while the app runs."""

import asyncio
import base64
from random import Random

import pytest
from pydantic import BaseModel

from mqtransport import ConsumeMessageError, MessageRefusedError, Producer
from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import consumer, eventually, sqs_app


class Note(BaseModel):
    text: str


class Notes(Producer[Note]):
    name = "note"


NOISE = base64.b64encode(Random(1).randbytes(4_000)).decode()


@pytest.mark.parametrize("confirm", [True, False])
async def test_a_message_that_fits_when_compressed_is_sent_after_the_limit_was_lowered(
    confirm: bool,
) -> None:
    got: list[str] = []

    async def handle(note: Note) -> None:
        got.append(note.text)

    async with SQSDouble() as double, sqs_app(double.url, confirm=confirm) as app:
        double.create_queue("notes")
        out = await app.create_producing_channel("notes")
        out.add_producer(notes := Notes())
        channel = await app.create_consuming_channel("notes")
        channel.add_consumer(consumer(handle, name="note", model=Note))
        await app.start()
        double.lower_limit("notes", 2_000)
        await asyncio.gather(*(notes.send(Note(text=str(n) * 5_000)) for n in range(10)))
        await eventually(lambda: len(got) == 10, "all handled")
        assert sorted(got) == [str(n) * 5_000 for n in range(10)]
        assert out.max_message_bytes == 2_000
        described = double.requests["GetQueueAttributes"]
        await notes.send(Note(text="x" * 5_000))
        assert double.requests["GetQueueAttributes"] == described, "the limit is remembered"


async def test_a_message_that_cannot_fit_says_the_new_limit_and_hurts_no_neighbour() -> None:
    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("notes")
        out = await app.create_producing_channel("notes")
        out.add_producer(notes := Notes())
        await app.start()
        double.lower_limit("notes", 2_000)
        texts = ["small", NOISE, "little"]
        results = await notes.send_many([Note(text=text) for text in texts])
        refused = results[1]
        assert isinstance(refused, MessageRefusedError)
        assert "2000" in str(refused)
        assert refused.outcome == "not_sent"
        assert [type(one).__name__ for one in results] == ["Sent", "MessageRefusedError", "Sent"]
        assert double.counts("notes")[0] == 2


async def test_a_dead_letter_copy_keeps_its_bytes_when_the_limit_was_lowered() -> None:
    async def reject(note: Note) -> None:
        raise ConsumeMessageError("x" * 400)

    async with SQSDouble() as double, sqs_app(double.url) as app:
        double.create_queue("notes")
        double.create_queue("dead")
        out = await app.create_producing_channel("notes")
        out.add_producer(notes := Notes())
        channel = await app.create_consuming_channel("notes", dead_letter="dead")
        channel.add_consumer(consumer(reject, name="note", model=Note))
        await app.start()
        await notes.send(Note(text="y" * 1_500))
        await eventually(lambda: double.counts("dead")[0] == 1, "dead-lettered")
        (first,) = double.messages("dead")
        # Now the body fits, but not together with its reason.
        room = len(first.body) + 250
        double.lower_limit("dead", room)
        await notes.send(Note(text="y" * 1_500))
        await eventually(lambda: double.counts("dead")[0] == 2, "dead-lettered without a reason")
        assert double.messages("dead")[1].body == first.body

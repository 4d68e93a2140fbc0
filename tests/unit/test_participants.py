"""Producers and consumers: how they are declared, and which declarations are refused."""

import asyncio
import logging
from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel, RootModel

from mqtransport import Consumer, MQApp, Producer, Sent
from mqtransport.errors import MessageRefusedError, NotStartedError, SendError, UsageError


class Order(BaseModel):
    id: int


class Other(BaseModel):
    id: int


class MP_Order(Producer):
    name = "orders.placed"

    class Model(BaseModel):
        id: int


class MC_Order(Consumer):
    name = "orders.placed"

    class Model(BaseModel):
        id: int

    async def consume(self, msg: Model, mq_app: MQApp) -> None: ...


def test_the_class_form_is_a_sound_declaration() -> None:
    MP_Order().check()
    MC_Order().check()


def test_the_type_argument_sets_the_model() -> None:
    class P(Producer[Order]):
        name = "n"

    class C(Consumer[Order]):
        name = "n"

        async def consume(self, msg: Order) -> None: ...

    P().check()
    C().check()
    assert P.Model is C.Model is Order


def test_the_model_is_inherited() -> None:
    class P(Producer[Order]):
        name = "n"

    class Q(P):
        name = "m"

    assert Q.Model is Order


def test_a_generic_base_of_ones_own_sets_the_model() -> None:
    T = TypeVar("T", bound=BaseModel)

    class Base(Producer[T], Generic[T]):
        name = "n"

    class P(Base[Order]):
        pass

    assert P.Model is Order
    P().check()


@pytest.mark.parametrize("name", [None, "", "a b", "n" * 129, "é", 7, b"n", "a\n"])
def test_an_illegal_name_is_refused_with_the_class_it_stands_in(name: Any) -> None:
    cls = type("MP_Bad", (Producer,), {"name": name, "Model": Order})
    with pytest.raises(UsageError, match="MP_Bad: name is"):
        cls().check()


def test_a_missing_name_is_refused() -> None:
    class MP_Nameless(Producer[Order]):
        pass

    with pytest.raises(UsageError, match="MP_Nameless: name is None"):
        MP_Nameless().check()


class Root(RootModel[list[int]]):
    pass


@pytest.mark.parametrize("model", [None, dict, int, "Order", Order(id=1), BaseModel, Root])
def test_a_model_that_is_none_is_refused(model: Any) -> None:
    cls = type("MP_Bad", (Producer,), {"name": "n", "Model": model})
    if model is BaseModel:
        cls().check()  # the empty model: any object without fields
        return
    with pytest.raises(UsageError, match="MP_Bad"):
        cls().check()


def test_a_missing_model_is_refused() -> None:
    class MP_Modelless(Producer):
        name = "n"

    with pytest.raises(UsageError, match="MP_Modelless: the model must be"):
        MP_Modelless().check()


def test_a_root_model_as_type_argument_is_refused() -> None:
    class P(Producer[Root]):
        name = "n"

    with pytest.raises(UsageError, match="RootModel"):
        P().check()


def test_a_type_argument_that_is_no_model_is_refused() -> None:
    class P(Producer[int]):  # type: ignore[type-var]
        name = "n"

    with pytest.raises(UsageError):
        P().check()


def test_a_consumer_without_consume_cannot_be_made() -> None:
    class C(Consumer[Order]):
        name = "n"

    with pytest.raises(TypeError, match="consume"):
        C()  # type: ignore[abstract]


def test_both_names_of_the_logger_are_one_logger() -> None:
    consumer = MC_Order()
    assert consumer.logger is consumer._logger is logging.getLogger("mqtransport.MC_Order")


@pytest.mark.parametrize("participant", [MP_Order(), MC_Order()])
def test_a_participant_without_a_channel_says_so(participant: Any) -> None:
    with pytest.raises(NotStartedError, match="belongs to no channel"):
        _ = participant.channel


async def test_producing_without_a_channel_is_refused() -> None:
    with pytest.raises(NotStartedError, match="MP_Order belongs to no channel"):
        await MP_Order().produce(id=1)


@pytest.fixture
async def app() -> Any:
    app = await MQApp.connect("memory://")
    yield app
    await app.shutdown()


async def test_a_foreign_model_is_refused_at_run_time(app: MQApp) -> None:
    class P(Producer[Order]):
        name = "n"

    channel = await app.create_producing_channel("orders")
    channel.add_producer(producer := P())
    await app.start()
    foreign: Any = Other(id=1)
    with pytest.raises(MessageRefusedError, match="takes Order, not Other") as caught:
        await producer.send(foreign)
    assert caught.value.outcome == "not_sent"
    assert "a producer of their own" in str(caught.value)
    fields: Any = {"id": 1}
    with pytest.raises(MessageRefusedError, match=r"write Order\(\*\*fields\), or use produce"):
        await producer.send(fields)
    results = await producer.send_many([Order(id=1), foreign, Order(id=2)])
    assert [type(one).__name__ for one in results] == ["Sent", "MessageRefusedError", "Sent"]


async def test_fields_that_do_not_fit_are_refused_without_their_values(app: MQApp) -> None:
    channel = await app.create_producing_channel("orders")
    channel.add_producer(producer := MP_Order())
    await app.start()
    with pytest.raises(MessageRefusedError, match="id") as caught:
        await producer.produce(id="cAnArY")
    assert "cAnArY" not in str(caught.value)


async def test_a_participants_name_is_taken_once_per_channel(app: MQApp) -> None:
    sending = await app.create_producing_channel("orders")
    receiving = await app.create_consuming_channel("orders")
    sending.add_producer(MP_Order())
    receiving.add_consumer(MC_Order())
    with pytest.raises(UsageError, match=r"'orders\.placed' already"):
        sending.add_producer(MP_Order())
    with pytest.raises(UsageError, match=r"'orders\.placed' already"):
        receiving.add_consumer(MC_Order())


async def test_a_participant_belongs_to_one_channel(app: MQApp) -> None:
    producer, consumer = MP_Order(), MC_Order()
    (await app.create_producing_channel("a")).add_producer(producer)
    (await app.create_consuming_channel("a")).add_consumer(consumer)
    sending = await app.create_producing_channel("b")
    receiving = await app.create_consuming_channel("b")
    with pytest.raises(UsageError, match="another channel"):
        sending.add_producer(producer)
    with pytest.raises(UsageError, match="another channel"):
        receiving.add_consumer(consumer)


async def test_a_refused_participant_leaves_the_channel_as_it_was(app: MQApp) -> None:
    class MC_Bad(Consumer):
        name = "n"

        class Model(BaseModel):
            pass

        async def consume(self, msg: Model, mq_app: MQApp, what: int) -> None: ...

    channel = await app.create_consuming_channel("orders")
    with pytest.raises(UsageError, match="'what'"):
        channel.add_consumer(MC_Bad())
    assert channel.consumers == []


async def test_sending_many_reports_each_entry_also_when_the_app_stops_meanwhile() -> None:
    app = await MQApp.connect("memory://")

    class P(Producer[Order]):
        name = "n"

    channel = await app.create_producing_channel("orders", max_buffered=5)
    channel.add_producer(producer := P())
    await app.start()
    sending = asyncio.create_task(producer.send_many([Order(id=n) for n in range(50)]))
    await asyncio.sleep(0)
    await app.shutdown(timeout=1)
    results = await sending
    assert len(results) == 50
    assert all(isinstance(one, Sent | SendError) for one in results)
    assert any(isinstance(one, Sent) for one in results)

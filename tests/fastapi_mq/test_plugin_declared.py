from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

import pytest
from fastapi import Depends, FastAPI
from plugin_doubles import Invoice, Order, ScriptedBroker, creating, serving
from pydantic import BaseModel, RootModel

from fastapi_mq import Consumer, Delivery, FastMQ, Producer, Retry
from mqtransport.errors import ChannelError, UsageError

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T]


class Names(RootModel[list[str]]):
    pass


@pytest.fixture
def mq() -> FastMQ:
    return FastMQ()


# -- what a decoration refuses, and whether it says what to change -----------------------


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        call()
    return str(caught.value)


def test_a_handler_without_annotation_is_told_to_annotate_or_pass_model(mq: FastMQ) -> None:
    def handle(order): ...  # type: ignore[no-untyped-def]

    text = refusal(lambda: mq.consumer("orders")(handle))
    assert "handle" in text
    assert "'orders'" in text
    assert "annotate its first parameter" in text
    assert "model=" in text


def test_a_handler_without_parameters_is_told_so(mq: FastMQ) -> None:
    def handle() -> None: ...

    assert "first parameter" in refusal(lambda: mq.consumer("orders")(handle))
    assert "first argument" in refusal(lambda: mq.consumer("orders", model=Order)(handle))


def test_an_unresolvable_local_annotation_names_model(mq: FastMQ) -> None:
    class Local(BaseModel):
        id: int

    async def handle(order: Local) -> None: ...

    text = refusal(lambda: mq.consumer("orders")(handle))
    assert "'Local' cannot be resolved" in text
    assert "model=" in text
    assert mq.consumer("orders", model=Local)(handle) is handle


def test_a_local_model_in_the_closure_is_resolved(mq: FastMQ) -> None:
    class Local(BaseModel):
        id: int

    @mq.consumer("orders")
    async def handle(order: Local, delivery: Delivery) -> None:
        Local(id=order.id)


def test_an_annotation_that_is_no_model_is_named(mq: FastMQ) -> None:
    async def handle(order: dict[str, Any]) -> None: ...

    text = refusal(lambda: mq.consumer("orders")(handle))
    assert "dict[str, typing.Any]" in text
    assert "BaseModel" in text


def test_an_optional_model_is_refused(mq: FastMQ) -> None:
    async def handle(order: Order | None) -> None: ...

    assert "BaseModel" in refusal(lambda: mq.consumer("orders")(handle))


def test_a_root_model_is_told_to_wrap_the_value(mq: FastMQ) -> None:
    async def handle(names: Names) -> None: ...

    for text in (
        refusal(lambda: mq.consumer("orders")(handle)),
        refusal(lambda: mq.producer("orders", Names)),
    ):
        assert "wrap the value in a field" in text


def test_a_generic_class_name_is_told_to_pass_name(mq: FastMQ) -> None:
    async def handle(page: Page[int]) -> None: ...

    for text in (
        refusal(lambda: mq.consumer("pages")(handle)),
        refusal(lambda: mq.producer("pages", Page[int])),
    ):
        assert "'Page[int]' is no legal message name" in text
        assert "name=" in text
    mq.consumer("pages", name="pages.int")(handle)
    assert mq.producer("pages", Page[int], name="pages.int").name == "pages.int"


@pytest.mark.parametrize("name", ["with space", "a" * 129, "ä", "a/b"])
def test_an_illegal_name_is_refused(mq: FastMQ, name: str) -> None:
    assert repr(name) in refusal(lambda: mq.producer("orders", Order, name=name))
    assert repr(name) in refusal(lambda: mq.consumer("orders", name=name, model=Order)(print))


def test_the_refusal_of_a_name_says_what_is_legal(mq: FastMQ) -> None:
    text = refusal(lambda: mq.producer("orders", Order, name="with space"))
    assert "letters" in text


def test_an_empty_name_is_refused(mq: FastMQ) -> None:
    refusal(lambda: mq.producer("orders", Order, name=""))


def test_the_same_name_twice_is_refused(mq: FastMQ) -> None:
    async def handle(order: Order) -> None: ...

    mq.consumer("orders")(handle)
    text = refusal(lambda: mq.consumer("orders")(handle))
    assert "'orders'" in text
    assert "'Order'" in text
    assert "name=" in text
    mq.consumer("orders", name="other")(handle)
    mq.consumer("elsewhere")(handle)


def test_the_same_producer_is_the_same_and_another_model_is_refused(mq: FastMQ) -> None:
    assert mq.producer("orders", Order) == mq.producer("orders", Order)
    text = refusal(lambda: mq.producer("orders", Invoice, name="Order"))
    assert "plugin_doubles.Order" in text
    assert "name=" in text


def test_two_models_of_one_class_name_are_refused_for_one_queue(mq: FastMQ) -> None:
    class Order(BaseModel):
        other: str

    from plugin_doubles import Order as First

    mq.producer("orders", First)
    assert "pass another name=" in refusal(lambda: mq.producer("orders", Order))
    mq.producer("others", Order)


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ({"concurrency": 1}, {"concurrency": 2}, "concurrency"),
        ({"dead_letter": "a"}, {"dead_letter": "b"}, "dead_letter"),
        ({"retry": Retry(max_attempts=1)}, {"retry": Retry(max_attempts=2)}, "retry"),
    ],
)
def test_contradicting_options_are_refused(
    mq: FastMQ, first: dict[str, Any], second: dict[str, Any], word: str
) -> None:
    mq.consumer("orders", model=Order, **first)(_handle)
    text = refusal(lambda: mq.consumer("orders", model=Invoice, **second)(_handle))
    assert word in text
    assert "give it once" in text
    mq.consumer("orders", model=Invoice, **first)(_handle)
    mq.consumer("orders", model=Order, name="third")(_handle)


async def _handle(body: Any) -> None: ...


def test_a_refused_declaration_changes_nothing(mq: FastMQ) -> None:
    mq.consumer("orders", model=Order, concurrency=1)(_handle)
    refusal(lambda: mq.consumer("orders", model=Invoice, dead_letter="x", concurrency=2)(_handle))
    mq.consumer("orders", model=Invoice, dead_letter="y")(_handle)


def test_an_impossible_concurrency_is_refused_at_decoration(mq: FastMQ) -> None:
    assert "orders" in refusal(lambda: mq.consumer("orders", model=Order, concurrency=0)(_handle))


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("concurrency", "3", "whole number"),
        ("concurrency", 2.5, "whole number"),
        ("concurrency", True, "whole number"),
        ("dead_letter", 5, "name of a queue"),
        ("dead_letter", "orders", "its own dead letter queue"),
        ("retry", 3, "Retry(...)"),
    ],
)
def test_an_impossible_option_is_refused_at_decoration(
    mq: FastMQ, option: str, value: Any, says: str
) -> None:
    text = refusal(lambda: mq.consumer("orders", model=Order, **{option: value})(_handle))
    assert "'orders'" in text
    assert says in text


@pytest.mark.parametrize("wrong", ["app", FastAPI])
def test_what_is_no_application_is_refused(wrong: Any) -> None:
    assert "FastAPI application" in refusal(lambda: FastMQ(wrong))


def test_what_is_no_settings_object_is_refused_and_not_shown() -> None:
    wrong: Any = {"broker": "sqs", "password": "canary"}
    text = refusal(lambda: FastMQ(settings=wrong))
    assert "MQSettings" in text
    assert "canary" not in text


async def test_declaring_while_running_is_refused(mq: FastMQ) -> None:
    app = FastAPI(lifespan=mq.lifespan)
    known = mq.producer("orders", Order)

    class MP(Producer[Order]):
        name = "mine"

    class MC(Consumer[Order]):
        name = "mine"

        async def consume(self, order: Order) -> None: ...

    async with serving(app):
        for late in (
            lambda: mq.producer("late", Order),
            lambda: mq.consumer("late", model=Order)(_handle),
            lambda: mq.add_producer("late", MP),
            lambda: mq.add_consumer("late", MC),
        ):
            assert "before the application starts" in refusal(late)
        assert mq.producer("orders", Order) == known
    mq.producer("late", Order)
    async with serving(app):
        assert len(app.state.mq.producing_channels) == 2


async def test_declaring_is_possible_again_after_a_failed_start() -> None:
    broker = ScriptedBroker()
    broker.errors["ping"] = RuntimeError("no")
    mq = FastMQ(create=creating(broker))
    app = FastAPI(lifespan=mq.lifespan)
    with pytest.raises(RuntimeError):
        async with serving(app):
            pass
    mq.producer("orders", Order)


@pytest.mark.parametrize("kind", [Order, Order(id=1), "MP", None, Consumer, Producer])
def test_what_is_no_producer_class_is_refused(mq: FastMQ, kind: Any) -> None:
    refusal(lambda: mq.add_producer("orders", kind))
    refusal(lambda: mq.provide(kind))


def test_a_class_without_name_or_model_is_refused(mq: FastMQ) -> None:
    class Nameless(Producer[Order]):
        pass

    class Modelless(Producer):
        name = "x"

    class Bodiless(Consumer):
        name = "x"

    assert "name" in refusal(lambda: mq.add_producer("orders", Nameless))
    assert "Model" in refusal(lambda: mq.add_producer("orders", Modelless))
    refusal(lambda: mq.add_consumer("orders", Bodiless))


async def test_a_consumer_class_without_consume_is_refused_where_it_is_declared(
    mq: FastMQ,
) -> None:
    class Lazy(Consumer[Order]):
        name = "x"

    try:
        mq.add_consumer("orders", Lazy)
    except UsageError:
        return
    async with serving(FastAPI(lifespan=mq.lifespan)):
        pytest.fail("it started")


def test_a_consumer_class_with_a_strange_parameter_is_refused_where_it_is_declared(
    mq: FastMQ,
) -> None:
    class Odd(Consumer[Order]):
        name = "x"

        async def consume(self, order: Order, database: int) -> None: ...

    refusal(lambda: mq.add_consumer("orders", Odd))


# -- parameters --------------------------------------------------------------------------


def test_a_parameter_that_nothing_supplies_is_named(mq: FastMQ) -> None:
    async def handle(order: Order, database: int) -> None: ...

    text = refusal(lambda: mq.consumer("orders")(handle))
    assert "'database'" in text
    assert "MQApp or Delivery" in text


def _database() -> int:
    return 1


def test_an_annotated_depends_in_a_handler_is_refused(mq: FastMQ) -> None:
    async def handle(order: Order, database: Annotated[int, Depends(_database)]) -> None: ...

    assert "'database'" in refusal(lambda: mq.consumer("orders")(handle))


def test_a_depends_default_in_a_handler_is_refused(mq: FastMQ) -> None:
    async def handle(order: Order, database: int = Depends(_database)) -> None: ...

    assert "'database'" in refusal(lambda: mq.consumer("orders")(handle))


def test_partials_and_lambdas_with_a_model_are_handlers(mq: FastMQ) -> None:
    async def handle(order: Order, *, tenant: str) -> None: ...

    bound = functools.partial(handle, tenant="x")
    assert mq.consumer("orders", model=Order)(bound) is bound
    mq.consumer("orders", model=Order, name="second")(lambda order: None)


def test_a_wrapped_handler_is_resolved_in_the_module_of_the_function(mq: FastMQ) -> None:
    async def handle(order: Order) -> None: ...

    @functools.wraps(handle)
    async def wrapper(*args: Any, **kwargs: Any) -> None:
        await handle(*args, **kwargs)

    mq.consumer("orders")(wrapper)


def test_what_cannot_be_called_is_a_usage_error(mq: FastMQ) -> None:
    with pytest.raises((UsageError, TypeError)):
        mq.consumer("orders", model=Order)(7)  # type: ignore[type-var]


def test_the_decorator_without_a_call_is_refused(mq: FastMQ) -> None:
    async def handle(order: Order) -> None: ...

    assert "queue" in refusal(lambda: mq.consumer(handle))  # type: ignore[arg-type]


@pytest.mark.parametrize("queue", ["", "with space", "a" * 81, ".fifo"])
async def test_an_impossible_queue_name_fails_the_start_and_is_named(
    mq: FastMQ, queue: str
) -> None:
    mq.producer(queue, Order)
    with pytest.raises((UsageError, ChannelError)) as caught:
        async with serving(FastAPI(lifespan=mq.lifespan)):
            pytest.fail("it started")
    assert repr(queue) in str(caught.value)

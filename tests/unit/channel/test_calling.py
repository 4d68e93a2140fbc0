"""How a consumer is called: what its parameters get, and how a plain def runs in a thread."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from fakes import virtually
from pydantic import BaseModel

import mqtransport
from mqtransport.app import MQApp
from mqtransport.channel.calling import read_call, run_in_thread
from mqtransport.errors import UsageError
from mqtransport.message import Delivery
from mqtransport.sqs import SQSApp

if TYPE_CHECKING:
    from mqtransport import MQApp as OnlyForCheckers
    from mqtransport import app as only_for_checkers
    from mqtransport.message import Delivery as OtherDelivery


class Model(BaseModel):
    n: int = 1


BODY = Model()
APP: Any = object()
DELIVERY = Delivery("id", "n", {}, 1, "q", None, 0.0)


def call(function: Callable[..., Any], namespace: dict[str, Any] | None = None) -> Any:
    """Call the function as a channel would, and return what it returned."""
    found = read_call(function, Model, "C", namespace)
    assert not found.threaded

    async def main() -> Any:
        return await found.start(BODY, APP, DELIVERY)

    return asyncio.run(main())


async def body_only(msg):  # type: ignore[no-untyped-def]
    return (msg,)


async def with_app(msg, mq_app):  # type: ignore[no-untyped-def]
    return (msg, mq_app)


async def with_annotated_app(msg: Model, mq_app: MQApp) -> Any:
    return (msg, mq_app)


async def with_sqs_app(msg: Model, app: SQSApp) -> Any:
    return (msg, app)


async def with_dotted_app(msg: Model, app: mqtransport.MQApp) -> Any:
    return (msg, app)


async def with_delivery(msg: Model, delivery: Delivery) -> Any:
    return (msg, delivery)


async def with_app_and_delivery(msg: Model, app: MQApp, delivery: Delivery) -> Any:
    return (msg, app, delivery)


async def with_plain_app_and_delivery(msg, app, delivery: Delivery):  # type: ignore[no-untyped-def]
    return (msg, app, delivery)


async def with_delivery_and_app(msg: Model, delivery: Delivery, app: MQApp) -> Any:
    return (msg, delivery, app)


async def with_keywords(msg: Model, *, app: MQApp, delivery: Delivery) -> Any:
    return (msg, app, delivery)


async def with_keyword_delivery(msg: Model, app: MQApp, *, delivery: Delivery) -> Any:
    return (msg, app, delivery)


async def with_defaults(msg: Model, mq_app: MQApp, retries: int = 3, *, flag: bool = True) -> Any:
    return (msg, mq_app, retries, flag)


async def with_variadic(msg: Model, mq_app: MQApp, *args: Any, **kwargs: Any) -> Any:
    return (msg, mq_app, *args, *kwargs)


async def with_keyword_behind_default(msg: Model, n: int = 3, *, delivery: Delivery) -> Any:
    return (msg, n, delivery)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (body_only, (BODY,)),
        (with_app, (BODY, APP)),
        (with_annotated_app, (BODY, APP)),
        (with_sqs_app, (BODY, APP)),
        (with_dotted_app, (BODY, APP)),
        (with_delivery, (BODY, DELIVERY)),
        (with_app_and_delivery, (BODY, APP, DELIVERY)),
        (with_plain_app_and_delivery, (BODY, APP, DELIVERY)),
        (with_delivery_and_app, (BODY, DELIVERY, APP)),
        (with_keywords, (BODY, APP, DELIVERY)),
        (with_keyword_delivery, (BODY, APP, DELIVERY)),
        (with_defaults, (BODY, APP, 3, True)),
        (with_variadic, (BODY, APP)),
        pytest.param(
            with_keyword_behind_default,
            (BODY, 3, DELIVERY),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_parameters_get_what_they_ask_for(function: Any, arguments: tuple[Any, ...]) -> None:
    assert call(function) == arguments


def test_annotations_that_are_no_texts_are_read_too() -> None:
    async def consume(msg: Any, delivery: Any, app: Any) -> Any:
        return (msg, delivery, app)

    consume.__annotations__ = {"msg": Model, "delivery": Delivery, "app": MQApp}
    assert call(consume) == (BODY, DELIVERY, APP)


def test_a_name_imported_for_type_checkers_only_is_known_by_itself() -> None:
    def make() -> Callable[..., Any]:
        async def consume(msg: Model, app: only_for_checkers.MQApp, d: Delivery) -> Any:
            return (msg, app, d)

        return consume

    assert call(make()) == (BODY, APP, DELIVERY)


async def with_renamed_checker_import(msg: Model, app: OnlyForCheckers) -> None: ...


async def with_renamed_delivery(msg: Model, app: MQApp, d: OtherDelivery) -> None: ...


async def with_number(msg: Model, app: MQApp, number: int) -> None: ...


async def with_number_second(msg: Model, number: int) -> None: ...


async def with_bare_third(msg, app, what) -> None: ...  # type: ignore[no-untyped-def]


async def with_bare_keyword(msg: Model, *, what) -> None: ...  # type: ignore[no-untyped-def]


async def with_broken_annotation(msg: Model, app: "not an annotation") -> None: ...  # type: ignore[valid-type] # noqa: F722


async def without_parameters() -> None: ...


async def with_keyword_body(*, msg: Model) -> None: ...


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (with_renamed_checker_import, "'app'"),
        (with_renamed_delivery, "'d'"),
        (with_number, "'number'"),
        (with_number_second, "'number'"),
        (with_bare_third, "'what'"),
        (with_bare_keyword, "'what'"),
        (with_broken_annotation, "'app'"),
        (without_parameters, "message body"),
        (with_keyword_body, "message body"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_parameter_that_nothing_can_be_supplied_for_is_a_usage_error(
    function: Any, said: str
) -> None:
    with pytest.raises(UsageError, match=f"C: .*{said}"):
        read_call(function, Model, "C")


async def with_kwargs_only(**kwargs: Any) -> None: ...


def test_keyword_arguments_alone_take_no_body() -> None:
    with pytest.raises(UsageError, match="message body"):
        read_call(with_kwargs_only, Model, "C")


def test_an_annotation_is_looked_up_in_the_closure() -> None:
    class LocalApp(MQApp):
        pass

    async def consume(msg: Model, app: LocalApp) -> Any:
        return (msg, app, LocalApp)

    assert call(consume)[:2] == (BODY, APP)


def test_a_closure_that_is_not_filled_yet_does_not_matter() -> None:
    async def consume(msg: Model, delivery: Delivery) -> Any:
        return (msg, delivery, later)

    found = read_call(consume, Model, "C")
    later = 1
    assert found.positional == ("delivery",)
    assert later == 1


def test_a_nested_model_is_no_obstacle() -> None:
    class C:
        class Nested(BaseModel):
            pass

        class OwnDelivery(Delivery):
            pass

        async def consume(self, msg: Nested, app: MQApp, delivery: OwnDelivery) -> Any:
            return (msg, app, delivery)

    assert call(C().consume, dict(vars(C))) == (BODY, APP, DELIVERY)


def keeps_signature(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return ("wrapped", *await function(*args, **kwargs))

    return wrapper


def plain_wrapper(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def test_a_decorated_function_is_called_by_its_own_signature() -> None:
    @keeps_signature
    async def consume(msg: Model, delivery: Delivery) -> Any:
        return (msg, delivery)

    assert call(consume) == ("wrapped", BODY, DELIVERY)


def test_a_decorated_method_is_called_by_its_own_signature() -> None:
    class C:
        @keeps_signature
        async def consume(self, msg: Model, app: MQApp, *, delivery: Delivery) -> Any:
            return (msg, app, delivery)

        @plain_wrapper
        async def other(self, msg: Model, app: MQApp) -> Any:
            return (msg, app)

        @staticmethod
        async def static(msg: Model, app: MQApp) -> Any:
            return (msg, app)

        @classmethod
        async def of_class(cls, msg: Model, delivery: Delivery) -> Any:
            return (msg, delivery)

    assert call(C().consume) == ("wrapped", BODY, APP, DELIVERY)
    assert call(C().other) == (BODY, APP)
    assert call(C().static) == (BODY, APP)
    assert call(C().of_class) == (BODY, DELIVERY)


def test_a_partial_function_is_called_with_what_is_left() -> None:
    async def consume(extra: int, msg: Model, app: MQApp) -> Any:
        return (extra, msg, app)

    assert call(functools.partial(consume, 5)) == (5, BODY, APP)


# -- threads --------------------------------------------------------------------------------


async def test_a_plain_def_runs_in_a_thread_of_its_own_with_its_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    def consume(msg: Model, app: MQApp, *, delivery: Delivery) -> Any:
        seen = variable.get()
        variable.set("changed in the thread")
        return (threading.current_thread(), seen, msg, app, delivery)

    found = read_call(consume, Model, "C")
    assert found.threaded
    variable.set("from the task")
    first = await found.start(BODY, APP, DELIVERY)
    second = await found.start(BODY, APP, DELIVERY)
    assert first[1:] == ("from the task", BODY, APP, DELIVERY)
    assert variable.get() == "from the task"
    assert len({threading.current_thread(), first[0], second[0]}) == 3
    assert first[0].daemon


async def test_many_threads_run_at_the_same_time() -> None:
    barrier = threading.Barrier(40, timeout=10)
    await asyncio.gather(*(run_in_thread(barrier.wait) for _ in range(40)))


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        (ValueError("x"), ValueError),
        (StopIteration(5), RuntimeError),
        (SystemExit(1), SystemExit),
        (asyncio.CancelledError(), asyncio.CancelledError),
    ],
)
async def test_what_a_thread_raises_reaches_the_caller(
    raised: BaseException, caught: type[BaseException]
) -> None:
    def work() -> None:
        raise raised

    with pytest.raises(caught):
        await run_in_thread(work)


async def test_a_cancelled_wait_leaves_the_thread_running_to_its_end() -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(10)
        ended.set()

    future = run_in_thread(work)
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    assert not ended.is_set()
    release.set()
    assert await asyncio.to_thread(ended.wait, 10)


def test_a_thread_that_outlives_its_loop_ends_quietly() -> None:
    release = threading.Event()
    errors: list[Any] = []
    before = threading.excepthook

    async def main() -> threading.Thread:
        known = set(threading.enumerate())
        run_in_thread(release.wait, 10)
        (thread,) = set(threading.enumerate()) - known
        return thread

    threading.excepthook = errors.append
    try:
        thread = asyncio.run(main())
        release.set()
        thread.join(10)
    finally:
        threading.excepthook = before
    assert not thread.is_alive()
    assert errors == []


@virtually
async def test_a_coroutine_function_needs_no_thread() -> None:
    assert not read_call(body_only, Model, "C").threaded

"""How a consumer is called: its parameters are read once, when it is added to a channel."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel

from mqtransport.errors import UsageError
from mqtransport.message import Delivery

if TYPE_CHECKING:
    from mqtransport.app import MQApp

Supply = Literal["app", "delivery"]


@dataclass(frozen=True, slots=True)
class Call:
    """A consumer's function, and what to hand it.

    Attributes:
        function: the function or bound method.
        model: the model of the body, its first argument.
        label: its name for logs and dead letter reasons.
        positional: what the parameters behind the body get, in order.
        keywords: what its keyword-only parameters get.
        threaded: whether it is a plain ``def`` and runs in a thread.
        wants_delivery: whether one of its parameters takes the delivery.
    """

    function: Callable[..., Any]
    model: type[BaseModel]
    label: str
    positional: tuple[Supply, ...]
    keywords: tuple[tuple[str, Supply], ...]
    threaded: bool
    wants_delivery: bool = field(init=False)

    def __post_init__(self) -> None:
        wanted = "delivery" in (*self.positional, *dict(self.keywords).values())
        object.__setattr__(self, "wants_delivery", wanted)

    def start(self, body: BaseModel, app: MQApp, delivery: Delivery | None) -> Awaitable[Any]:
        """Call it: a coroutine to await, or, for a plain ``def``, the future of its thread.

        Args:
            body: its first argument.
            app: for a parameter that takes the app.
            delivery: for one that takes the delivery; None is enough where none does.
        """
        if self.positional == ("app",) and not self.keywords and not self.threaded:
            awaitable: Awaitable[Any] = self.function(body, app)  # the usual form, thrice as fast
            return awaitable
        arguments = [app if supply == "app" else delivery for supply in self.positional]
        keywords = {name: app if supply == "app" else delivery for name, supply in self.keywords}
        if self.threaded:
            return run_in_thread(self.function, body, *arguments, **keywords)
        awaitable = self.function(body, *arguments, **keywords)
        return awaitable


def read_call(
    function: Callable[..., Any],
    model: type[BaseModel],
    label: str,
    namespace: dict[str, Any] | None = None,
) -> Call:
    """Read a consumer's signature.

    Args:
        function: the function or bound method; its first parameter takes the body.
        model: the model of the body.
        label: its name for messages.
        namespace: names that its annotations may use beside its globals and closure.

    Raises:
        UsageError: it takes no body, or has a parameter that nothing can be supplied for.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind in (
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    ):
        raise UsageError(f"{label}: it must take the message body as its first argument")
    positional: list[Supply] = []
    keywords: list[tuple[str, Supply]] = []
    defaulted = False
    for index, parameter in enumerate(parameters[1:], start=2):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        supply = _supply(parameter, function, namespace or {}, second=index == 2)
        by_keyword = parameter.kind is parameter.KEYWORD_ONLY or defaulted
        if supply is None and parameter.default is not parameter.empty:
            # It keeps its default, so what follows can only be given by keyword.
            defaulted = defaulted or parameter.kind is not parameter.KEYWORD_ONLY
            continue
        if supply is None:
            raise UsageError(
                f"{label}: nothing can be supplied for its parameter {parameter.name!r}; "
                f"annotate it as MQApp or Delivery, or give it a default"
            )
        if by_keyword:
            keywords.append((parameter.name, supply))
        else:
            positional.append(supply)
    threaded = not inspect.iscoroutinefunction(inspect.unwrap(function))
    return Call(function, model, label, tuple(positional), tuple(keywords), threaded)


def _supply(
    parameter: inspect.Parameter,
    function: Callable[..., Any],
    namespace: dict[str, Any],
    *,
    second: bool,
) -> Supply | None:
    from mqtransport.app import MQApp  # here, because the app imports the channels

    annotation = parameter.annotation
    if annotation is parameter.empty:
        return "app" if second and parameter.kind is not parameter.KEYWORD_ONLY else None
    found = resolve_annotation(annotation, function, namespace)
    if isinstance(found, str):
        # Imported for type checkers only: the name itself has to do.
        word = found.rsplit(".", 1)[-1]
        return {"Delivery": "delivery", "MQApp": "app", "SQSApp": "app"}.get(word)  # type: ignore[return-value]
    kinds = [kind for kind in get_args(found) if kind is not NoneType]
    if len(kinds) == 1:  # Delivery | None
        found = kinds[0]
    if isinstance(found, type) and issubclass(found, Delivery):
        return "delivery"
    if isinstance(found, type) and issubclass(found, MQApp):
        return "app"
    return None


def resolve_annotation(
    annotation: object, function: Callable[..., Any], namespace: dict[str, Any]
) -> object:
    """Return what an annotation means; a text that cannot be resolved is returned as it is.

    Under ``from __future__ import annotations`` annotations are texts. They are looked up in
    the function's globals and closure and in ``namespace``.
    """
    if not isinstance(annotation, str):
        return annotation
    plain = inspect.unwrap(getattr(function, "__func__", function))
    names = {**getattr(plain, "__globals__", {}), **_closure(plain), **namespace}
    try:
        return eval(annotation, names)  # a programmer's own annotation, as typing evaluates it
    except (NameError, AttributeError, SyntaxError, TypeError):
        return annotation


def _closure(function: object) -> dict[str, Any]:
    """Return the names of a function's closure; those not assigned yet are left out."""
    found = {}
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        with suppress(ValueError):  # the cell is empty: the name is defined further down
            found[name] = cell.cell_contents
    return found


def run_in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
    """Run a blocking function in a thread of its own; the future gets its result.

    The thread is a daemon, so a function that never returns cannot hold up the end of the
    process. Cancelling the future leaves the thread running.
    """
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    context = contextvars.copy_context()

    def finish(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = context.run(function, *args, **kwargs)
        except StopIteration as caught:  # a future cannot carry it
            error = RuntimeError(f"the function raised {caught!r}")
        except BaseException as caught:
            error = caught  # all of it is carried to the caller
        with suppress(RuntimeError):  # the loop has ended meanwhile, and with it the caller
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=work, name="mqtransport handler", daemon=True).start()
    return future

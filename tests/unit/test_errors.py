"""The errors: the tree in the docstring is the tree in the code; they survive copying."""

import copy
import inspect
import pickle
import re

import pytest

from mqtransport import errors
from mqtransport.errors import MQTransportError, RetryMessage, SendError


def classes() -> list[type[MQTransportError]]:
    return [
        one
        for one in vars(errors).values()
        if inspect.isclass(one) and issubclass(one, MQTransportError)
    ]


def drawn_tree() -> dict[str, str]:
    """Return each class in the module's drawing with the one it hangs below."""
    tree: dict[str, str] = {}
    branch: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ((?:[│ ]   )*(?:[├└]── )?)([A-Za-z]+)(?:\s{1,}|$)", line)
        if not found:
            continue
        depth = len(found.group(1)) // 4
        branch = [one for one in branch if one[0] < depth]
        tree[found.group(2)] = branch[-1][1] if branch else "Exception"
        branch.append((depth, found.group(2)))
    return tree


def test_the_drawing_is_the_real_class_tree() -> None:
    real = {one.__name__: one.__bases__[0].__name__ for one in classes()}
    assert all(len(one.__bases__) == 1 for one in classes())
    assert drawn_tree() == real


def example(kind: type[MQTransportError]) -> MQTransportError:
    if issubclass(kind, SendError):
        return kind("text", queue="orders", message_id="m1", outcome="unknown")
    if issubclass(kind, errors.BrokerError):
        return kind("text", queue="orders", maybe_done=True)
    if issubclass(kind, errors.ChannelError):
        return kind("text", queue="orders")
    if issubclass(kind, RetryMessage):
        return kind(5.0, "text")
    return kind("text")


def copied(error: MQTransportError) -> MQTransportError:
    return copy.copy(error)


def pickled(error: MQTransportError) -> MQTransportError:
    found: MQTransportError = pickle.loads(pickle.dumps(error))
    return found


@pytest.mark.parametrize("again", [copied, pickled])
@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.__name__) for kind in classes()])
def test_an_error_survives_copying_with_its_attributes(
    kind: type[MQTransportError], again: object
) -> None:
    error = example(kind)
    twin = again(error)  # type: ignore[operator]
    assert type(twin) is kind
    assert str(twin) == str(error) == "text"
    assert vars(twin) == vars(error)


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_every_error_is_explained(kind: type[MQTransportError]) -> None:
    assert kind.__doc__
    assert kind.__doc__ != MQTransportError.__doc__ or kind is MQTransportError


def test_labels_of_broker_errors_are_single_words() -> None:
    kinds = [kind for kind in classes() if issubclass(kind, errors.BrokerError)]
    labels = [kind.label for kind in kinds]
    assert all(re.fullmatch("[a-z_]+", label) for label in labels)
    assert len(set(labels)) == len(labels)


def test_no_error_is_both_retryable_and_fatal() -> None:
    kinds = [kind for kind in classes() if issubclass(kind, errors.BrokerError)]
    assert not [kind for kind in kinds if kind.retryable and kind.fatal]

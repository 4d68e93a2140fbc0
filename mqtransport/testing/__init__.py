"""Tools for testing applications, and brokers, built on this library.

Importing it needs no more than the library itself. The conformance suite is run by pytest;
the strict SQS double and the fault proxy need the extra ``sqs`` and are imported on first use.
"""

from typing import TYPE_CHECKING, Any

from mqtransport.errors import ConfigurationError
from mqtransport.testing.conformance import BrokerConformance
from mqtransport.testing.fakes import FakeProducer
from mqtransport.testing.harness import BrokerHarness, FaultHooks
from mqtransport.testing.virtual import (
    EPOCH_S,
    DeadlockError,
    VirtualClock,
    VirtualLoop,
    run_virtual,
)

if TYPE_CHECKING:
    from mqtransport.testing.proxy import FaultProxy
    from mqtransport.testing.sqs_double import SQSDouble

__all__ = [
    "EPOCH_S",
    "BrokerConformance",
    "BrokerHarness",
    "DeadlockError",
    "FakeProducer",
    "FaultHooks",
    "FaultProxy",
    "SQSDouble",
    "VirtualClock",
    "VirtualLoop",
    "run_virtual",
]


def __getattr__(name: str) -> Any:
    try:
        if name == "SQSDouble":
            from mqtransport.testing.sqs_double import SQSDouble

            return SQSDouble
        if name == "FaultProxy":
            from mqtransport.testing.proxy import FaultProxy

            return FaultProxy
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f'{name} needs aiohttp; install it with: pip install "mqtransport[sqs]"'
        ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from mqtransport.testing.ports import hold_port

# Their asserts are plain statements, which `python -O` leaves out unless pytest rewrites them.
pytest.register_assert_rewrite(
    "tests.contract.support",
    "tests.durability.campaign",
    "tests.durability.sharing",
    "tests.durability.support",
    "tests.faults.journal",
    "tests.faults.support",
)

# Both judge by the wall clock: a busy machine, or a fresh clone whose first draw builds
# Hypothesis's table of characters (a second), is no failure.
settings.register_profile(
    "no wall clock", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("no wall clock")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the campaigns at full size")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full"))


@pytest.fixture
def closed_url() -> Iterator[str]:
    """A URL whose port refuses connects, and that nobody else is given while the test runs."""
    with hold_port("127.0.0.1", 0) as held:
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"

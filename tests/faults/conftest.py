import functools
from collections.abc import Iterator

import pytest
from botocore.loaders import JSONFileLoader

from tests.faults.journal import Journal
from tests.faults.support import PATH


@pytest.fixture(autouse=True, params=[True, False], ids=["fast path", "aiobotocore"])
def _path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every campaign runs on both ways to SQS."""
    monkeypatch.setitem(PATH, "fast_path", request.param)


@pytest.fixture
def journal() -> Iterator[Journal]:
    """A journal whose six numbers stand in the report of a test that fails."""
    kept = Journal()
    yield kept
    print(kept)


@pytest.fixture(autouse=True, scope="package")
def read_once() -> Iterator[None]:
    """Let botocore read its data files once: a hundred clients would parse them a hundred times."""
    read = functools.cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))
        yield

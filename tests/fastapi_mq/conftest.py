import os

import pytest


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MQ_") or name == "WEB_CONCURRENCY":
            monkeypatch.delenv(name)

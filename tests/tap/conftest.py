"""The service that these tests ask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from service import Service

_NONE = (
    "no TAP service of these tests: run `make test-tap`, or start one with tests/tap/setup up "
    "and name its folder in VIAMACHINAE_TAP"
)


@pytest.fixture(scope="session")
def _running() -> Service:
    folder = os.environ.get("VIAMACHINAE_TAP")
    if not folder:
        pytest.skip(_NONE)
    service = Service(Path(folder))
    service.start()
    return service


@pytest.fixture
def service(_running: Service) -> Iterator[Service]:
    """The service, which runs and has no job."""
    _running.start()
    _running.clear_jobs()
    yield _running
    _running.clear_jobs()

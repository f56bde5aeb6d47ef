"""What several tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from viamachinae.config.settings import RunnerSettings
from viamachinae.scan.ray_runner import RayRunner

#: Read when Ray is loaded: the tests' own clusters need no token in anyone's home folder.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")


@pytest.fixture(scope="session")
def ray_runner() -> Iterator[RayRunner]:
    """One local Ray of two workers, started by the first test that runs tasks on it."""
    with RayRunner(RunnerSettings(workers=2)) as runner:
        yield runner

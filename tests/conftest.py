"""What several tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from viamachinae.scan.ray_runner import RayRunner


@pytest.fixture(scope="session")
def ray_runner() -> Iterator[RayRunner]:
    """One local Ray of two workers, started by the first test that runs tasks on it."""
    with RayRunner(workers=2) as runner:
        yield runner

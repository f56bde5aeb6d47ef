"""Ray that does not come up at once: tried again, and nothing of it stays."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray

from viamachinae.config.settings import RunnerSettings
from viamachinae.errors import TaskError
from viamachinae.scan.ray_cluster import RayCluster


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Let Ray start a process and then say that another one did not come up."""
    started: list[subprocess.Popen[bytes]] = []

    def init(*args: Any, **kwargs: Any) -> None:
        started.append(subprocess.Popen(["sleep", "60"]))
        msg = "The current node timed out during startup."
        raise Exception(msg)  # noqa: TRY002  what Ray raises

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return started


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_ray_that_does_not_start_is_tried_again_and_leaves_nothing(
    begun: list[subprocess.Popen[bytes]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = dict(os.environ)
    with (
        RayCluster(RunnerSettings(workers=1)) as cluster,
        pytest.raises(TaskError, match="did not start on this"),
    ):
        cluster.start()
    assert len(begun) == 2
    assert [process.wait(10) for process in begun] == [-9, -9]
    assert "it is started again" in caplog.text
    assert dict(os.environ) == before


def test_a_cluster_of_others_is_asked_once(begun: list[subprocess.Popen[bytes]]) -> None:
    settings = RunnerSettings(workers=1, address="no-such-cluster:1")
    with (
        RayCluster(settings) as cluster,
        pytest.raises(TaskError, match="did not start at 'no-such-cluster:1'"),
    ):
        cluster.start()
    (process,) = begun
    assert process.poll() is None
    process.kill()
    process.wait(10)

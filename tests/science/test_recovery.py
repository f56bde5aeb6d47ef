"""The whole search on a small mock sky: it finds the stream that is there, and none where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from viamachinae.cli.demo import Comparison, compare, true_members
from viamachinae.config import Settings
from viamachinae.config.presets import workflow
from viamachinae.scan.drive import run_scan
from viamachinae.scan.ending import ScanResult
from viamachinae.scan.results import finished
from viamachinae.scan.runner import InlineRunner


def search(out: Path, *, with_stream: bool) -> tuple[Settings, ScanResult]:
    """Search the demo's first patch in three windows, the stream's motion anywhere in them."""
    tree = workflow("demo").model_dump()
    tree["scan"]["name"] = "recovery"
    tree["patches"]["centres"] = tree["patches"]["centres"][:1]
    tree["regions"].update(coordinates=("pm_lambda",), limits=(-18.0, -6.0))
    # One patch must do what the demo does with two: train as long as its stars can use.
    tree["density"].update(max_star_steps=400_000, best_epochs=10)
    if not with_stream:
        tree["mock"]["streams"] = ()
    settings = Settings.model_validate(tree)
    return settings, run_scan(settings, out, runner=InlineRunner())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScanResult, Comparison]:
    out = tmp_path_factory.mktemp("stream")
    settings, result = search(out, with_stream=True)
    stream = settings.mock.streams[0]
    first = result.streams().iloc[0]
    return result, compare(first, finished(out).members(), true_members(out, stream.name), stream)


def test_the_injected_stream_is_the_first_candidate(found: tuple[ScanResult, Comparison]) -> None:
    _, first = found
    assert first.offset < 0.5
    assert first.angle < 3
    assert first.purity > 0.7
    assert first.completeness > 0.5


def test_the_same_sky_without_it_gives_nothing_like_it(
    found: tuple[ScanResult, Comparison], tmp_path: Path
) -> None:
    with_stream = found[0].streams()["significance"].max()
    _, without = search(tmp_path, with_stream=False)
    assert with_stream > 8
    assert (without.streams()["significance"] < 0.5 * with_stream).all()

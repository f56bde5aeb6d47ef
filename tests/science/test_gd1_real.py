"""GD-1 in real Gaia DR2 stars, with the line finder and the joining alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
TABLE = DATA / "gd1_real" / "pm_box.parquet"
TRACKS = DATA / "catalogs" / "galstreams_1.2.1_tracks_200pt.parquet"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(
        not (TABLE.exists() and TRACKS.exists()), reason=f"no real stars beside the project: {TABLE}"
    ),
]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_gd1_real", ROOT / "docs" / "make_gd1_real.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def result(script):
    return script.analyse(pd.read_parquet(TABLE))


@pytest.fixture(scope="module")
def known(script):
    return script.known_track(pd.read_parquet(TRACKS))


def test_the_best_line_is_gd1_in_all_fields_but_at_most_one(script, result, known):
    """A line is GD-1's when its stars' middle and direction are within 0.5 deg and 10 deg of the track."""
    frame = script.gd1_frame()
    track = frame.to_frame(known["ra"], known["dec"])
    hits = []
    for _, roi in script.best_lines(result).iterrows():
        on = result.stars[roi["patch"]].iloc[
            np.asarray(roi["top_rows"])[np.asarray(roi["on_line"], dtype=bool)]
        ]
        slope, level = np.polyfit(*frame.to_frame(on["ra"], on["dec"]), 1)
        centre = float(frame.to_frame(on["ra"], on["dec"])[0].mean())
        there = np.interp(centre, *track)
        direction = np.interp(centre + 1, *track) - np.interp(centre - 1, *track)
        turned = np.degrees(np.arctan(slope) - np.arctan(direction / 2))
        hits.append(abs(level + slope * centre - there) < 0.5 and abs(turned) < 10)
    assert len(hits) == 9
    assert sum(hits) >= 8


def test_the_joined_track_follows_the_known_one(result, known):
    best = result.candidates[0]
    assert len(best.patches) >= 6
    assert result.track.high - result.track.low > 30
    phi1, phi2 = result.circle.to_frame(known["ra"], known["dec"])
    inside = (phi1 > result.track.low) & (phi1 < result.track.high)
    assert inside.sum() > 20
    assert np.abs(phi2 - result.track.at(phi1)[0])[inside].max() < 0.5


def test_gd1_is_the_only_candidate_of_weight(result):
    assert result.candidates[0].significance > 15
    assert all(c.significance < 7 for c in result.candidates[1:])


def test_without_the_stream_the_fields_are_empty(script):
    """As many stars as there are off the stream, at phi2 drawn evenly: the same sky without it."""
    table = pd.read_parquet(TABLE)
    frame = script.gd1_frame()
    phi1, phi2 = frame.to_frame(table["ra"], table["dec"])
    rng = np.random.default_rng(0)
    near = np.abs(phi2) < 1.5
    off_stream = (~near).sum() / 4.0 * 1.5 / near.sum()
    keep = ~near | (rng.random(len(table)) < off_stream)
    ra, dec = frame.from_frame(phi1, rng.uniform(-5.5, 5.5, len(table)))
    even = table.assign(ra=ra, dec=dec)[keep]
    significance = []
    for centre in script.CENTRES:
        place = script.PatchFrame(*(float(v) for v in frame.from_frame(centre, 0.0)))
        significance.append(script.search_field(script.cut_field(even, place), "even")["significance"].max())
    assert max(significance) < 6.0
    assert np.median(significance) < 5.0

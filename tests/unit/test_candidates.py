"""Candidates: fragments joined over patches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from streams_sky import make_roi, make_sky, make_stars, patches, turned

from viamachinae.config.settings import Settings
from viamachinae.errors import DataError
from viamachinae.schema import FRAGMENTS
from viamachinae.streams.candidates import join
from viamachinae.streams.fragments import build

SETTINGS = Settings()


@pytest.fixture(scope="module")
def stars() -> dict[str, pd.DataFrame]:
    return make_stars(make_sky())


@pytest.fixture(scope="module")
def fragments(stars) -> pd.DataFrame:
    return fragments_of(stars)


def fragments_of(stars: dict[str, pd.DataFrame]) -> pd.DataFrame:
    found = []
    for name, table in stars.items():
        rois = pd.concat([make_roi(table, name, k, 60 - 5 * k, seed=k) for k in range(3)], ignore_index=True)
        found.append(build(table, rois, {"patch": name}, SETTINGS))
    return pd.concat(found, ignore_index=True)


def test_two_patches_make_one_candidate(fragments, stars):
    assert fragments["patch"].tolist() == ["A", "B"]
    (candidate,) = join(fragments, patches(), stars, SETTINGS)
    assert candidate.patches == ("A", "B")
    assert candidate.significance == pytest.approx(np.hypot(*fragments["significance"]))
    assert candidate.n_trainings == fragments["n_trainings"].sum()
    union = set(fragments["source_ids"][0]) | set(fragments["source_ids"][1])
    assert candidate.source_ids.tolist() == sorted(union)
    best = fragments.sort_values("significance").iloc[-1]
    minutes = round(best["ra"] * 4)
    assert candidate.stream_id.startswith(f"VM-J{minutes // 60:02d}{minutes % 60:02d}+")


def without_shared(fragments: pd.DataFrame, stars: dict[str, pd.DataFrame]) -> pd.DataFrame:
    shared = set(fragments["source_ids"][0]) & set(fragments["source_ids"][1])
    out = fragments.copy()
    for i in range(2):
        keep = ~np.isin(out["source_ids"][i], list(shared))
        for column in ("source_ids", "star_rows"):
            out.at[i, column] = np.asarray(out[column][i])[keep]
    return out


def test_continuation_joins_without_shared_stars(fragments, stars):
    (candidate,) = join(without_shared(fragments, stars), patches(), stars, SETTINGS)
    assert len(candidate.fragments) == 2


@pytest.mark.parametrize("place", [(10.0, 89.0), (20.0, -90.0), (0.1, 5.0)])
def test_continuation_joins_anywhere_on_the_sky(place):
    """At a pole pmra and pmdec of one stream turn by 180 deg, and at ra 0 nothing happens."""
    sky, centres = turned(make_sky(), *place)
    stars = make_stars(sky, centres)
    apart = without_shared(fragments_of(stars), stars)
    (candidate,) = join(apart, patches(centres), stars, SETTINGS)
    assert candidate.patches == ("A", "B")
    moved = {**stars, "B": stars["B"].assign(pmdec=stars["B"]["pmdec"] + 8.0)}
    assert len(join(apart, patches(centres), moved, SETTINGS)) == 2


def test_other_proper_motion_is_another_stream(fragments, stars):
    apart = without_shared(fragments, stars)
    moved = {**stars, "B": stars["B"].assign(pmdec=stars["B"]["pmdec"] + 8.0)}
    assert len(join(apart, patches(), moved, SETTINGS)) == 2


def test_other_direction_is_another_stream(fragments, stars):
    turned = fragments.copy()
    turned.loc[1, ["pole_ra", "pole_dec"]] = [turned.loc[1, "ra"] + 10.0, turned.loc[1, "dec"] - 70.0]
    assert len(join(turned, patches(), stars, SETTINGS)) == 2


def test_patches_too_far_apart_do_not_join(fragments, stars):
    far = patches().assign(ra=[150.0, 200.0])
    assert len(join(without_shared(fragments, stars), far, stars, SETTINGS)) == 2


def test_two_different_lines_of_a_patch_do_not_meet_through_a_third(fragments, stars):
    """A second line of patch B, 8 deg in angle away and 4 deg aside, also resembles A's."""
    second = fragments.iloc[[1]].copy()
    second["fragment"], second["significance"] = "B/2", 5.0
    second["ra"] = second["ra"] + 5.0
    second["pole_ra"] = second["pole_ra"] + 5.0
    three = pd.concat([fragments, second], ignore_index=True)
    found = join(three, patches(), stars, SETTINGS)
    assert [c.fragments for c in found] == [tuple(sorted(("A/1", "B/1"), key=lambda f: -dict(
        zip(fragments["fragment"], fragments["significance"], strict=True))[f])), ("B/2",)]  # fmt: skip


def test_rows_and_ids_do_not_depend_on_order(fragments, stars):
    first = join(fragments, patches(), stars, SETTINGS)
    second = join(fragments.iloc[::-1], patches().iloc[::-1], stars, SETTINGS)
    assert [c.stream_id for c in first] == [c.stream_id for c in second]
    assert [c.fragments for c in first] == [c.fragments for c in second]


def test_id_survives_a_patch_less(fragments, stars):
    best = fragments.sort_values("significance").iloc[[-1]]
    both = join(fragments, patches(), stars, SETTINGS)
    alone = join(best, patches(), stars, SETTINGS)
    assert alone[0].stream_id == both[0].stream_id


def test_equal_names_are_told_apart(fragments, stars):
    twin = fragments.iloc[[0]].assign(fragment="A/2", significance=4.5)
    alone = join(pd.concat([fragments.iloc[[0]], twin]), patches(), stars, SETTINGS)
    assert len({c.stream_id for c in alone}) == len(alone) == 2


def test_nothing_joins_to_nothing():
    assert join(FRAGMENTS.empty(), patches(), {}, SETTINGS) == []


def test_fragments_of_other_stars_are_refused(fragments, stars):
    with pytest.raises(DataError, match="no stars named B"):
        join(fragments, patches(), {"A": stars["A"]}, SETTINGS)
    with pytest.raises(DataError, match="build fragments again"):
        join(fragments, patches(), {**stars, "B": stars["A"]}, SETTINGS)

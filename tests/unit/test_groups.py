"""Groups of patches: each patch once, sizes alike, neighbours together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError
from viamachinae.scan.groups import Group, groups
from viamachinae.sky.patches import make_patches


@pytest.fixture(scope="module")
def sky() -> pd.DataFrame:
    return make_patches(Settings().patches)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 100])
def test_every_patch_is_in_one_group_and_all_are_alike(sky: pd.DataFrame, n: int) -> None:
    members = [list(Group(i, n).members(sky)["patch"]) for i in range(1, n + 1)]
    assert sorted(name for names in members for name in names) == sorted(sky["patch"])
    sizes = [len(names) for names in members]
    assert max(sizes) - min(sizes) <= 1


def test_neighbours_go_together(sky: pd.DataFrame) -> None:
    ra, dec = np.radians(sky["ra"].to_numpy()), np.radians(sky["dec"].to_numpy())
    places = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    nearest = np.argsort(-(places @ places.T), axis=1)[:, 1:4]
    group = groups(sky, 8)
    together = (group[nearest] == group[:, None]).mean()
    shuffled = np.random.default_rng(1).permutation(group)
    assert together > 0.6
    assert (shuffled[nearest] == shuffled[:, None]).mean() < 0.25


def test_the_order_of_the_patches_does_not_matter(sky: pd.DataFrame) -> None:
    shuffled = sky.sample(frac=1.0, random_state=3)
    ours = dict(zip(sky["patch"], groups(sky, 5), strict=True))
    assert dict(zip(shuffled["patch"], groups(shuffled, 5), strict=True)) == ours


def test_more_groups_than_patches_leave_some_empty(sky: pd.DataFrame) -> None:
    few = sky.head(2)
    assert [len(Group(i, 5).members(few)) for i in range(1, 6)] == [1, 1, 0, 0, 0]
    assert list(Group(5, 5).members(few).columns) == list(sky.columns)


def test_names_of_groups() -> None:
    assert (str(Group.parse("2/8")), Group.parse("2/8").label) == ("2/8", "2-of-8")


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "a/b", "1/0", "-1/3", "1/2/3"])
def test_what_names_no_group_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="I/N"):
        Group.parse(text)

"""Stream candidates: fragments of overlapping patches that continue one another.

Two fragments of different patches are linked when their great circles agree in
angle and they either share line stars or, where the patches overlap, lie close
to one another with their proper motions (continued linearly along the circle)
alike. Linked fragments form a candidate. A link that would bring together two
fragments of one patch is refused unless those two are themselves alike: two
different lines of a patch must not become one stream because a third fragment
elsewhere resembles both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from viamachinae.config.settings import Settings, StreamSettings
from viamachinae.errors import DataError
from viamachinae.sky.circles import GreatCircle
from viamachinae.sky.frame import PatchFrame

__all__ = ["Candidate", "join"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Line stars from which a proper-motion gradient is fitted; fewer give their median.
MIN_GRADIENT = 8
#: Room for rounding in cosines that only save exact tests.
_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class Candidate:
    """Fragments that belong to one stream.

    Parameters
    ----------
    stream_id : str
        From position and proper motion of the best fragment, so that a patch
        added later changes it only when it holds a better one.
    significance : float
        Best fragment of each patch, added in quadrature (Gaussian sigma).
    fragments : tuple of str
        Names, best first.
    patches : tuple of str
        Patches they lie in, sorted.
    n_trainings : int
        Independent trainings, summed over the fragments.
    source_ids : ndarray of int64
        Different line stars, sorted.
    """

    stream_id: str
    significance: float
    fragments: tuple[str, ...]
    patches: tuple[str, ...]
    n_trainings: int
    source_ids: Ints


@dataclass(frozen=True, eq=False)
class _Fragment:
    """A fragment with what the tests between two of them need."""

    name: str
    patch: str
    significance: float
    n_trainings: int
    circle: GreatCircle
    ids: Ints
    ra: float
    dec: float
    pm: tuple[float, float]
    phi1: Floats = field(repr=False)
    motion: Floats = field(repr=False)

    def motion_at(self, ra: float, dec: float) -> Floats:
        """Return the proper motion (pmra, pmdec in mas/yr), continued linearly to a position.

        Along and across the circle, since pmra and pmdec of one stream change
        without bound near the celestial poles.
        """
        phi1, phi2 = (float(v) for v in self.circle.to_frame(ra, dec))
        along, across = (_continued(self.phi1, pm, phi1) for pm in self.motion)
        return np.array(self.circle.unrotate_pm(phi1, phi2, along, across))


def join(
    fragments: pd.DataFrame, patches: pd.DataFrame, stars: Mapping[str, pd.DataFrame], settings: Settings
) -> list[Candidate]:
    """Join the fragments of all patches into stream candidates.

    Parameters
    ----------
    fragments : DataFrame
        FRAGMENTS of all patches.
    patches : DataFrame
        PATCHES.
    stars : mapping of str to DataFrame
        STARS of every patch that has fragments.
    settings : Settings
        Sections ``streams`` and ``fiducial.radius`` are used.

    Returns
    -------
    list of Candidate
        Most significant first.

    Raises
    ------
    DataError
        A fragment's patch is missing from ``patches`` or ``stars``.
    """
    frames = {str(p): PatchFrame(ra, dec) for p, ra, dec in zip(patches["patch"], patches["ra"],
                                                                patches["dec"], strict=True)}  # fmt: skip
    nodes = [_fragment(row, frames, stars) for _, row in fragments.iterrows()]
    nodes.sort(key=lambda node: (-node.significance, node.name))
    group = list(range(len(nodes)))
    for _, a, b in sorted(_links(nodes, frames, settings)):
        first, second = group[a], group[b]
        if first != second and _compatible(nodes, group, first, second, settings.streams):
            group = [first if g == second else g for g in group]
    found = [[node for node, g in zip(nodes, group, strict=True) if g == k] for k in sorted(set(group))]
    candidates = sorted(
        (_candidate(members) for members in found), key=lambda c: (-c.significance, c.stream_id)
    )
    return _unique(candidates)


def _fragment(
    row: pd.Series, frames: Mapping[str, PatchFrame], stars: Mapping[str, pd.DataFrame]
) -> _Fragment:
    patch = str(row["patch"])
    if patch not in frames or patch not in stars:
        msg = (
            f"fragment {row['fragment']}: no {'stars' if patch in frames else 'patch'} named {patch}; known: "
        )
        raise DataError(msg + ", ".join(sorted(set(frames) & set(stars))))
    rows, ids = (np.asarray(row[name], dtype=np.int64) for name in ("star_rows", "source_ids"))
    known = rows < len(stars[patch])
    picked = stars[patch].iloc[rows[known]]
    if not (known.all() and np.array_equal(picked["source_id"].to_numpy(), ids)):
        msg = f"fragment {row['fragment']}: its stars are not those of patch {patch}; build fragments again"
        raise DataError(msg)
    circle = GreatCircle(row["pole_ra"], row["pole_dec"], row["ra"], row["dec"])
    place = picked["ra"].to_numpy(), picked["dec"].to_numpy()
    return _Fragment(
        name=str(row["fragment"]),
        patch=patch,
        significance=float(row["significance"]),
        n_trainings=int(row["n_trainings"]),
        circle=circle,
        ids=np.unique(ids),
        ra=float(row["ra"]),
        dec=float(row["dec"]),
        pm=(float(row["pmra"]), float(row["pmdec"])),
        phi1=circle.phi1(*place),
        motion=np.vstack(circle.rotate_pm(*place, picked["pmra"].to_numpy(), picked["pmdec"].to_numpy())),
    )


def _links(
    nodes: list[_Fragment], frames: Mapping[str, PatchFrame], settings: Settings
) -> list[tuple[int, int, int]]:
    """Return linked pairs as (minus the shared stars, a, b): the surest sort first."""
    limits = settings.streams
    links = []
    for a, b in _pairs(nodes, frames, settings):
        first, second = nodes[a], nodes[b]
        if first.circle.angle_to(second.circle) > limits.max_angle:
            continue
        shared = np.intersect1d(first.ids, second.ids, assume_unique=True).size
        centres = frames[first.patch], frames[second.patch]
        if shared >= max(1, limits.min_shared) or _continue(first, second, centres, settings):
            links.append((-shared, a, b))
    return links


def _pairs(
    nodes: list[_Fragment], frames: Mapping[str, PatchFrame], settings: Settings
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of overlapping patches and about the same direction, found at array speed.

    A thousand fragments make half a million pairs, of which few deserve an exact test.
    """
    poles = np.array([node.circle.matrix[2] for node in nodes])
    centres = np.array([frames[node.patch].matrix[0] for node in nodes])
    steepest = np.cos(np.radians(min(settings.streams.max_angle, 90.0))) - _SLACK
    furthest = np.cos(np.radians(2 * settings.fiducial.radius)) - _SLACK
    for b, node in enumerate(nodes):
        near = (np.abs(poles[:b] @ poles[b]) > steepest) & (centres[:b] @ centres[b] > furthest)
        yield from ((int(a), b) for a in np.flatnonzero(near) if nodes[a].patch != node.patch)


def _continue(
    first: _Fragment, second: _Fragment, centres: tuple[PatchFrame, PatchFrame], settings: Settings
) -> bool:
    """Return whether two fragments continue each other where their searched circles overlap."""
    radius = settings.fiducial.radius
    one, two = centres
    if float(one.separation(two.ra, two.dec)) >= 2 * radius:
        return False
    x, y = one.tangent(two.ra, two.dec)
    ra, dec = one.from_tangent(0.5 * x, 0.5 * y)
    for fragment in (first, second):
        # The overlap's middle, carried onto each circle in turn, must lie in the overlap.
        on_ra, on_dec = fragment.circle.to_sky(fragment.circle.phi1(ra, dec), 0.0)
        if max(float(c.separation(on_ra, on_dec)) for c in centres) > radius:
            return False
        if not _alike(first, second, float(on_ra), float(on_dec), settings.streams):
            return False
    return True


def _alike(first: _Fragment, second: _Fragment, ra: float, dec: float, limits: StreamSettings) -> bool:
    """Return whether two fragments agree in place and proper motion at a position (deg)."""
    away = max(abs(float(f.circle.phi2(ra, dec))) for f in (first, second))
    motion = float(np.hypot(*(first.motion_at(ra, dec) - second.motion_at(ra, dec))))
    return away <= limits.max_distance and motion <= limits.max_pm


def _compatible(nodes: list[_Fragment], group: list[int], a: int, b: int, limits: StreamSettings) -> bool:
    """Return whether merging two groups brings together no two different lines of one patch."""
    mine = [node for node, g in zip(nodes, group, strict=True) if g == a]
    theirs = [node for node, g in zip(nodes, group, strict=True) if g == b]
    for first in mine:
        for second in theirs:
            if first.patch != second.patch:
                continue
            if first.circle.angle_to(second.circle) > limits.max_angle:
                return False
            if not _alike(first, second, first.ra, first.dec, limits):
                return False
    return True


def _candidate(members: list[_Fragment]) -> Candidate:
    best: dict[str, float] = {}
    for node in members:
        best[node.patch] = max(best.get(node.patch, 0.0), node.significance)
    return Candidate(
        stream_id=_name(members[0]),
        significance=float(np.sqrt(sum(value**2 for value in best.values()))),
        fragments=tuple(node.name for node in members),
        patches=tuple(sorted(best)),
        n_trainings=sum(node.n_trainings for node in members),
        source_ids=np.unique(np.concatenate([node.ids for node in members])),
    )


def _name(node: _Fragment) -> str:
    """Return e.g. ``VM-J0954+2412-m07m13``: ICRS position and rounded pmra, pmdec (mas/yr)."""
    minutes = round(node.ra * 4.0) % 1440
    arcmin = round(abs(node.dec) * 60.0)
    sign = "-" if node.dec < 0 else "+"
    motion = "".join(f"{'m' if pm < 0 else 'p'}{abs(round(pm)):02d}" for pm in node.pm)
    return f"VM-J{minutes // 60:02d}{minutes % 60:02d}{sign}{arcmin // 60:02d}{arcmin % 60:02d}-{motion}"


def _unique(candidates: list[Candidate]) -> list[Candidate]:
    """Put a number behind later candidates of the same name, in order of significance."""
    taken: dict[str, int] = {}
    out = []
    for candidate in candidates:
        count = taken.get(candidate.stream_id, 0)
        taken[candidate.stream_id] = count + 1
        name = f"{candidate.stream_id}-{count + 1}" if count else candidate.stream_id
        out.append(replace(candidate, stream_id=name))
    return out


def _continued(phi1: Floats, pm: Floats, where: float) -> float:
    """Return a robust straight line through proper motions at ``where``, no further than a range beyond."""
    if phi1.size < MIN_GRADIENT or np.ptp(phi1) < 1.0:
        return float(np.median(pm))
    span = np.ptp(phi1)
    where = float(np.clip(where, phi1.min() - 0.5 * span, phi1.max() + 0.5 * span))
    keep = np.ones(phi1.size, dtype=bool)
    line = np.array([0.0, np.median(pm)])
    for _ in range(5):
        residual = pm - np.polyval(line, phi1)
        scatter = 1.4826 * np.median(np.abs(residual - np.median(residual[keep])))
        keep = np.abs(residual) <= 2.5 * max(scatter, 0.1)
        if np.count_nonzero(keep) < MIN_GRADIENT:
            return float(np.median(pm))
        line = np.polyfit(phi1[keep], pm[keep], 1)
    return float(np.polyval(line, where))

"""Members and tracks of stream candidates: every fiducial star near a track gets a membership."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from viamachinae.config.settings import MemberSettings, Settings
from viamachinae.errors import DataError
from viamachinae.schema import MEMBERS, STREAMS, TRACKS
from viamachinae.sky.circles import GreatCircle
from viamachinae.stars.extinction import photometry
from viamachinae.streams.candidates import Candidate
from viamachinae.streams.mixture import Band, Mixture, fit_mixture
from viamachinae.streams.tracks import fit_robust

__all__ = ["Catalogue", "best_log_r", "members"]

_LOG = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: The track runs this far (deg) beyond the central 98 % of the line stars.
MARGIN = 1.0


@dataclass(frozen=True, eq=False)
class Catalogue:
    """STREAMS (best first), MEMBERS and TRACKS of a scan."""

    streams: pd.DataFrame
    members: pd.DataFrame
    tracks: pd.DataFrame


def best_log_r(n_stars: int, scores: Iterable[pd.DataFrame]) -> npt.NDArray[np.float32]:
    """Return the largest log R of every star of a patch, over regions and coordinates.

    Parameters
    ----------
    n_stars : int
        Rows of the patch's stars table.
    scores : iterable of DataFrame
        SCORES of the patch, in any order: one table at a time is held.

    Returns
    -------
    ndarray of float32, shape (n_stars,)
        NaN for a star that was never scored.
    """
    out = np.full(n_stars, -np.inf, dtype=np.float32)
    for table in scores:
        value = table["log_r"].to_numpy().astype(np.float32)
        np.maximum.at(out, table["row"].to_numpy(), np.where(np.isnan(value), -np.inf, value))
    out[np.isneginf(out)] = np.nan
    return out


def members(
    candidates: Sequence[Candidate],
    stars: Mapping[str, pd.DataFrame],
    log_r: Mapping[str, npt.ArrayLike],
    settings: Settings,
) -> Catalogue:
    """Fit track and memberships of every candidate.

    Parameters
    ----------
    candidates : sequence of Candidate
        Best first, as :func:`viamachinae.streams.candidates.join` returns them.
    stars : mapping of str to DataFrame
        STARS of every patch of a candidate.
    log_r : mapping of str to array_like
        Largest log R of every row of those tables (:func:`best_log_r`).
    settings : Settings
        Section ``members``.

    Returns
    -------
    Catalogue
        A star counts once a candidate, whatever number of patches holds it.

    Raises
    ------
    DataError
        A candidate's patch is missing, or scores and stars differ in length.
    """
    if not candidates:
        return Catalogue(STREAMS.empty(), MEMBERS.empty(), TRACKS.empty())
    solved = {}
    # Patch after patch, so that mappings which read on demand read every patch about once.
    for i in sorted(range(len(candidates)), key=lambda i: candidates[i].patches):
        solved[i] = _solve(candidates[i], _stars_of(candidates[i], stars, log_r), settings.members)
    streams, lists, tracks = zip(*(solved[i] for i in range(len(candidates))), strict=True)
    return Catalogue(
        STREAMS.conform(pd.DataFrame(streams)),
        MEMBERS.conform(pd.concat(lists, ignore_index=True)),
        TRACKS.conform(pd.concat(tracks, ignore_index=True)),
    )


def _stars_of(
    candidate: Candidate, stars: Mapping[str, pd.DataFrame], log_r: Mapping[str, npt.ArrayLike]
) -> pd.DataFrame:
    """Return the fiducial stars of a candidate's patches, each once, with the largest log R."""
    parts = []
    for patch in candidate.patches:
        if patch not in stars or patch not in log_r:
            known = ", ".join(sorted(set(stars) & set(log_r)))
            msg = f"candidate {candidate.stream_id}: no stars or scores of patch {patch}; known: {known}"
            raise DataError(msg)
        value = np.asarray(log_r[patch], dtype=np.float32)
        if len(value) != len(stars[patch]):
            msg = f"patch {patch}: {len(value)} values of log R for {len(stars[patch])} stars"
            raise DataError(msg)
        fiducial = stars[patch]["fiducial"].to_numpy()
        parts.append(stars[patch][fiducial].assign(log_r=value[fiducial]))
    table = pd.concat(parts, ignore_index=True)
    order = np.lexsort((-table["log_r"].fillna(-np.inf).to_numpy(), table["source_id"].to_numpy()))
    return table.iloc[order].drop_duplicates("source_id").reset_index(drop=True)


def _solve(
    candidate: Candidate, table: pd.DataFrame, settings: MemberSettings
) -> tuple[dict[str, object], pd.DataFrame, pd.DataFrame]:
    on_line = np.isin(table["source_id"].to_numpy(), candidate.source_ids)
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    circle = GreatCircle.fit(ra[on_line], dec[on_line])
    band = _band(table, circle)
    low, high = np.percentile(band.phi1[on_line], [1.0, 99.0])
    ends = (float(low) - MARGIN, float(high) + MARGIN)
    values = np.vstack([band.phi2, band.pm])
    guess = fit_robust(band.phi1[on_line], values[:, on_line], settings.degree, ends)
    fit = fit_mixture(band, guess, on_line, settings)
    _LOG.debug(
        "%s: %.1f members of %d judged, width %.2f deg, dispersion %.2f mas/yr",
        candidate.stream_id, fit.membership.sum(), fit.judged.sum(), fit.width, fit.dispersion,
    )  # fmt: skip
    listed = _listed(candidate, table, band, fit, on_line)
    return _stream_row(candidate, circle, fit), listed, fit.track.sample(circle, candidate.stream_id)


def _band(table: pd.DataFrame, circle: GreatCircle) -> Band:
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    phi1, phi2 = circle.to_frame(ra, dec)
    pm = np.vstack(circle.rotate_pm(ra, dec, table["pmra"].to_numpy(), table["pmdec"].to_numpy()))
    error = np.zeros(pm.shape)
    if {"pmra_error", "pmdec_error"} <= set(table):
        # Errors turn with the motion; the correlation of the two is left out.
        east = table["pmra_error"].to_numpy().astype(np.float64)
        north = table["pmdec_error"].to_numpy().astype(np.float64)
        cosine = np.vstack(circle.rotate_pm(ra, dec, np.ones(len(ra)), np.zeros(len(ra)))) ** 2
        error = np.sqrt(cosine * east**2 + (1.0 - cosine) * north**2)
        error = np.where(np.isfinite(error), error, 0.0)
    cmd = table[list(photometry(table))].to_numpy().astype(np.float64).T
    return Band(phi1, phi2, pm, error, cmd)


def _listed(
    candidate: Candidate, table: pd.DataFrame, band: Band, fit: Mixture, on_line: Bools
) -> pd.DataFrame:
    out = table.assign(
        stream_id=candidate.stream_id,
        phi1=band.phi1,
        phi2=band.phi2,
        on_line=on_line,
        membership=fit.membership,
    )[fit.judged]
    named = [name for name in MEMBERS.names if name in out]
    extra = [name for name in out if name not in MEMBERS.names and name not in _PATCH_COLUMNS]
    order = np.lexsort((out["source_id"].to_numpy(), -out["membership"].to_numpy()))
    return out[[*named, *extra]].iloc[order]


#: Columns of STARS that mean something in one patch only.
_PATCH_COLUMNS = ("phi", "lambda", "pm_phi_coslambda", "pm_lambda", "fiducial")


def _stream_row(candidate: Candidate, circle: GreatCircle, fit: Mixture) -> dict[str, object]:
    middle = fit.track.middle
    phi2, pm1, pm2 = fit.track.at([middle])[:, 0]
    ra, dec = circle.to_sky(middle, phi2)
    pmra, pmdec = circle.unrotate_pm(middle, phi2, pm1, pm2)
    return {
        "stream_id": candidate.stream_id,
        "significance": candidate.significance,
        "p_value": np.nan,
        "n_members": int(np.count_nonzero(fit.membership > 0.5)),
        "n_expected": float(fit.membership.sum()),
        "n_patches": len(candidate.patches),
        "n_trainings": candidate.n_trainings,
        "ra": float(ra),
        "dec": float(dec),
        "pole_ra": circle.pole_ra,
        "pole_dec": circle.pole_dec,
        "length": fit.track.high - fit.track.low,
        "width": fit.width,
        "pmra": float(pmra),
        "pmdec": float(pmdec),
        "fragments": " ".join(candidate.fragments),
    }

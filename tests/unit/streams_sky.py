"""A small sky with one stream through two overlapping patches, for the tests of streams."""

from __future__ import annotations

import numpy as np
import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.schema import ROIS, STARS
from viamachinae.sky.circles import GreatCircle
from viamachinae.sky.frame import PatchFrame
from viamachinae.streams.lines import gnomonic, roi_row
from viamachinae.streams.regions import Roi, SignalRegion, Slice

CENTRES = {"A": (150.0, 30.0), "B": (150.0, 40.0)}
CIRCLE = GreatCircle.from_points(148.0, 20.0, 153.0, 48.0)
SETTINGS = Settings.model_validate({"fiducial": {"radius": 10.0}})


def patches(centres: dict[str, tuple[float, float]] = CENTRES) -> pd.DataFrame:
    rows = [{"patch": name, "ra": ra, "dec": dec} for name, (ra, dec) in centres.items()]
    return pd.DataFrame(rows)


def make_sky(
    n_stream: int = 250, n_background: int = 9000, seed: int = 0, width: float = 0.2
) -> pd.DataFrame:
    """Stars of an even background and a stream along CIRCLE with a gradient of proper motion."""
    rng = np.random.default_rng(seed)
    ra = rng.uniform(130, 170, n_background)
    dec = np.degrees(np.arcsin(rng.uniform(np.sin(np.radians(18)), np.sin(np.radians(52)), n_background)))
    background = {
        "ra": ra,
        "dec": dec,
        "pmra": rng.normal(-3, 4, n_background),
        "pmdec": rng.normal(-6, 4, n_background),
        "phot_g_mean_mag": 20.2 - rng.exponential(1.5, n_background).clip(0, 6),
        "bp_rp": rng.uniform(0.5, 1.0, n_background),
        "truth": False,
    }
    phi1, phi2 = rng.uniform(0, 28, n_stream), rng.normal(0, width, n_stream)
    pm1 = 9.0 + 0.1 * (phi1 - 14) + rng.normal(0, 0.5, n_stream)
    sra, sdec = CIRCLE.to_sky(phi1, phi2)
    pmra, pmdec = CIRCLE.unrotate_pm(phi1, phi2, -pm1, 4.0 + rng.normal(0, 0.5, n_stream))
    g = 20.2 - rng.exponential(1.0, n_stream).clip(0, 4)
    stream = {
        "ra": sra,
        "dec": sdec,
        "pmra": pmra,
        "pmdec": pmdec,
        "phot_g_mean_mag": g,
        "bp_rp": 0.65 + 0.05 * (g - 19) + rng.normal(0, 0.03, n_stream),
        "truth": True,
    }
    out = pd.concat([pd.DataFrame(background), pd.DataFrame(stream)], ignore_index=True)
    return out.assign(source_id=np.arange(len(out)) + 10**9, parallax=0.1, pmra_error=0.4, pmdec_error=0.4)


def turned(sky: pd.DataFrame, ra: float, dec: float) -> tuple[pd.DataFrame, dict[str, tuple[float, float]]]:
    """The same sky with what lies between the patches brought to ``ra, dec``, and its centres."""
    old, new = PatchFrame(150.0, 35.0), PatchFrame(ra, dec)
    place = old.to_frame(sky["ra"], sky["dec"])
    motion = new.unrotate_pm(*place, *old.rotate_pm(sky["ra"], sky["dec"], sky["pmra"], sky["pmdec"]))
    there = dict(zip(("ra", "dec", "pmra", "pmdec"), (*new.from_frame(*place), *motion), strict=True))
    moved = {name: new.from_frame(*old.to_frame(*centre)) for name, centre in CENTRES.items()}
    return sky.assign(**there), {name: (float(a), float(b)) for name, (a, b) in moved.items()}


def make_stars(
    sky: pd.DataFrame, centres: dict[str, tuple[float, float]] = CENTRES
) -> dict[str, pd.DataFrame]:
    """STARS of both patches."""
    out = {}
    for name, centre in centres.items():
        frame = PatchFrame(*centre)
        inside = sky[frame.separation(sky["ra"], sky["dec"]) < 12].reset_index(drop=True)
        phi, lam = frame.to_frame(inside["ra"], inside["dec"])
        pm = frame.rotate_pm(inside["ra"], inside["dec"], inside["pmra"], inside["pmdec"])
        fiducial = (frame.separation(inside["ra"], inside["dec"]) < 10) & inside["bp_rp"].between(0.5, 1.0)
        columns = {"phi": phi, "lambda": lam, "pm_phi_coslambda": pm[0], "pm_lambda": pm[1]}
        out[name] = STARS.conform(inside.assign(**columns, fiducial=fiducial))
    return out


def make_roi(stars: pd.DataFrame, patch: str, region: int, n_true: int, seed: int) -> pd.DataFrame:
    """A region of interest whose 100 best stars hold ``n_true`` of the stream."""
    rng = np.random.default_rng(seed)
    fiducial = stars["fiducial"].to_numpy()
    true = np.flatnonzero(fiducial & stars["truth"].to_numpy())
    others = np.flatnonzero(fiducial & ~stars["truth"].to_numpy())
    top = np.concatenate(
        [rng.choice(true, n_true, replace=False), rng.choice(others, 100 - n_true, replace=False)]
    )
    window = SignalRegion("pm_lambda", region, region, region + 6.0)
    roi = Roi(window, Slice(0, 0.0, 6.0), np.flatnonzero(fiducial), top)
    return ROIS.conform(pd.DataFrame([roi_row(roi, *gnomonic(stars), SETTINGS, patch)]))

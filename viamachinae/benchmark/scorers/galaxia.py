"""A simulated sky from a file, with the members of a real stream at that sky's noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from viamachinae.benchmark.scorers.patch import G_MAX, Trunk, patch_sky, patch_table, with_stream_of
from viamachinae.benchmark.scorers.sky import Sky
from viamachinae.config import Settings, rng
from viamachinae.config.settings import SelectionSettings, StarSettings
from viamachinae.errors import DataError
from viamachinae.stars.mock.noise import parallax_error, proper_motion_errors

__all__ = ["Source", "galaxia_sky", "member_noise"]

Array = NDArray[np.float64]

_MEASURED = ("ra", "dec", "pmra", "pmdec", "parallax", "phot_g_mean_mag", "bp_rp")
_ERRORS = ("pmra_error", "pmdec_error", "parallax_error")


@dataclass(frozen=True)
class Source:
    """The files (Parquet) of a sky without streams, and of the members of real ones.

    Parameters
    ----------
    sky : Path
        Stars with Gaia's columns and errors at the noise of Gaia DR2, which cover the patch.
    members : Path
        Members at the noise of Gaia DR3, with a column ``stream``.
    stream : str
        The one that is put in.
    """

    sky: Path
    members: Path
    stream: str = "GD-1"


def galaxia_sky(source: Source, draw: tuple[int, int, float], settings: Settings, trunk: Trunk) -> Sky:
    """Return the sky with a stream's members in it.

    Parameters
    ----------
    source : Source
        The files.
    draw : tuple of (int, int, float)
        Stars of the stream in the signal region (all, where there are fewer); the number of
        the draw, which says which members are kept and their noise; the part of the sky's stars that is kept.
    settings : Settings
        Of the patch, the cuts and the densities.
    trunk : callable
        Gives where models start.

    Raises
    ------
    DataError
        A file cannot be used, or has no such stream.
    """
    size, number, share = draw
    generator = rng(settings.scan.seed, "galaxia", number)
    sky = _read(source.sky, ("source_id", *_MEASURED, *_ERRORS))
    if share < 1:
        sky = sky[generator.uniform(size=len(sky)) < share]
    members = _read(source.members, ("source_id", *_MEASURED, "stream"))
    own = members[members["stream"] == source.stream]
    if own.empty:
        known = ", ".join(sorted(members["stream"].astype(str).unique())[:10])
        msg = f"{source.members}: no members of {source.stream!r}; among its streams are {known}"
        raise DataError(msg)
    own = member_noise(own, sky, generator).drop(columns="stream").assign(truth=source.stream)
    sky = sky[~sky["source_id"].isin(own["source_id"])].assign(truth="")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "sky.parquet"
        pd.concat([sky, own[list(sky)]], ignore_index=True).to_parquet(file, index=False)
        read = {
            "stars": StarSettings(source="files", paths=(file,), release="gaia-dr2", carry=("truth",)),
            "selection": SelectionSettings(g_max=G_MAX),
        }
        table = patch_table(settings.model_copy(update=read))
    return patch_sky(with_stream_of(table, size, generator), None, settings, trunk)


def member_noise(members: pd.DataFrame, sky: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Return members as a survey with the sky's errors would have seen them.

    Each gets the sky's median errors at its magnitude, and the noise that its DR3
    values lack: sigma sqrt(1 - r^2), with r the ratio of DR3's errors to DR2's.
    Members without a colour, or fainter than the sky, are left out.

    Parameters
    ----------
    members : DataFrame
        ``pmra``, ``pmdec`` (mas/yr), ``parallax`` (mas), ``phot_g_mean_mag``, ``bp_rp`` (mag),
        at DR3's noise.
    sky : DataFrame
        ``phot_g_mean_mag`` and the errors, at DR2's noise.
    generator : numpy.random.Generator
        Of the noise.
    """
    usable = np.isfinite(members["bp_rp"]) & (members["phot_g_mean_mag"] <= sky["phot_g_mean_mag"].max())
    out = members[usable].reset_index(drop=True)
    g = out["phot_g_mean_mag"].to_numpy(np.float64)
    motion = proper_motion_errors(g, "gaia-dr3")[0] / proper_motion_errors(g, "gaia-dr2")[0]
    parallax = parallax_error(g, "gaia-dr3") / parallax_error(g, "gaia-dr2")
    for name, ratio in (("pmra", motion), ("pmdec", motion), ("parallax", parallax)):
        error = _median_at(g, sky["phot_g_mean_mag"], sky[f"{name}_error"])
        out[f"{name}_error"] = error
        out[name] = out[name] + error * np.sqrt(1 - ratio**2) * generator.normal(size=len(out))
    return out


def _median_at(g: Array, magnitudes: pd.Series, errors: pd.Series) -> Array:
    """Return the median error of the stars of each magnitude ``g``."""
    medians = errors.groupby(magnitudes.round(1)).median()
    return np.asarray(np.interp(g, medians.index.to_numpy(np.float64), medians.to_numpy(np.float64)))


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        there = pq.read_schema(path).names
        missing = [name for name in columns if name not in there]
        if missing:
            msg = f"{path}: missing columns: {', '.join(missing)}; needed are {', '.join(columns)}"
            raise DataError(msg)
        table: pd.DataFrame = pq.read_table(path, columns=list(columns)).to_pandas()
    except (OSError, pa.ArrowException) as error:
        msg = f"{path}: cannot be read as Parquet ({error}); name a table in that format"
        raise DataError(msg) from error
    return table

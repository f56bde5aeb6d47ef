"""Made-up tables under the names, with the columns, the types and the nulls of the real archives.

Everything follows from the seed, so that a test knows every value that the service holds without asking it.
"""

from __future__ import annotations

from dataclasses import dataclass

import healpy
import numpy as np
import pyarrow as pa

__all__ = ["BIG", "CENTRE", "RADIUS", "SKIES", "Sky", "in_cell"]

CENTRE = (148.6, 24.2)  #: of all tables (deg)
RADIUS = 4.0  #: of all tables (deg)

_SQL = {
    pa.int64(): "bigint",
    pa.int32(): "integer",
    pa.int16(): "smallint",
    pa.float32(): "real",
    pa.float64(): "double precision",
}
_LEVEL = 12  # HEALPix level in the identifiers
_SHIFT = 35  # bits below it
_WANDERERS = 40  # sources whose position has left the cell of their identifier


@dataclass(frozen=True)
class Sky:
    """A table of the service.

    Parameters
    ----------
    schema, table : str
        Its name.
    rows : int
        Number of sources.
    seed : int
        Of all values.
    kind : str
        gaia-dr3, gaia-dr2, ruwe (the table beside DR2), galaxia-dr2 or galaxia-dr3.
    """

    schema: str
    table: str
    rows: int
    seed: int
    kind: str

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"

    def build(self) -> pa.Table:
        """Return the table, in no order."""
        rng = np.random.default_rng(self.seed)
        columns = _sources(self.rows, rng)
        columns |= _photometry(self.rows, rng)
        columns |= _astrometry(self.rows, rng)
        columns |= _velocities(self.rows, rng, columns)
        if self.kind.startswith("galaxia"):
            columns = _as_mock(columns, self.kind, rng)
        elif self.kind == "gaia-dr2":
            columns = _as_dr2(columns)
        elif self.kind == "ruwe":
            columns = _as_ruwe(columns, rng)
        else:
            columns["ref_epoch"] = pa.array(np.full(self.rows, 2016.0))
        return pa.table(columns)

    def resource(self) -> str:
        """Return the table as DaCHS declares it."""
        table = self.build().slice(0, 0)
        columns = "\n".join(_declared(field.name, field.type) for field in table.schema)
        return f"""  <table id="{self.table}" onDisk="True" adql="True" primary="source_id">
    <meta name="description">A made-up table in the form of {self.name}.</meta>
{columns}
  </table>
  <data id="import_{self.table}"><make table="{self.table}"/></data>
"""


def in_cell(table: pa.Table, order: int, pixel: int) -> pa.Table:
    """Return the rows whose identifier lies in a HEALPix cell (NESTED), sorted by identifier."""
    ids = table["source_id"].to_numpy()
    rows = np.flatnonzero(ids >> (_SHIFT + 2 * (_LEVEL - order)) == pixel)
    return table.take(rows[np.argsort(ids[rows])])


def _declared(name: str, kind: pa.DataType) -> str:
    ucd = {
        "source_id": "meta.id;meta.main",
        "ra": "pos.eq.ra;meta.main",
        "dec": "pos.eq.dec;meta.main",
    }.get(name, "")
    null = "" if pa.types.is_floating(kind) else '<values nullLiteral="-32768"/>'
    required = ' required="True"' if name == "source_id" else ""
    return (
        f'    <column name="{name}" type="{_SQL[kind]}" ucd="{ucd}"{required} '
        f'description="{name} as in the archive">{null}</column>'
    )


def _array(values: np.ndarray, kind: pa.DataType, missing: np.ndarray | None = None) -> pa.Array:
    return pa.array(values.astype(kind.to_pandas_dtype()), type=kind, mask=missing)


def _sources(n: int, rng: np.random.Generator) -> dict[str, pa.Array]:
    """Draw sources evenly over the circle, denser towards one side; every identifier holds its cell."""
    ra0, dec0 = CENTRE
    distance = RADIUS * np.sqrt(rng.random(n))
    angle = rng.vonmises(0.0, 0.5, n)
    dec = dec0 + distance * np.sin(angle)
    ra = ra0 + distance * np.cos(angle) / np.cos(np.radians(dec))
    pixel = healpy.ang2pix(1 << _LEVEL, ra, dec, lonlat=True, nest=True).astype(np.int64)
    # The low bits of an identifier are a running number within its cell, after the processing centre's own.
    ids = (pixel << _SHIFT) | (rng.permutation(n).astype(np.int64) << 7)
    moved = rng.choice(n, min(_WANDERERS, n // 4), replace=False)
    dec[moved] += rng.uniform(-2e-3, 2e-3, len(moved))
    return {
        "source_id": _array(ids, pa.int64()),
        "ra": _array(ra, pa.float64()),
        "dec": _array(dec, pa.float64()),
        "ra_error": _array(rng.gamma(2.0, 0.1, n), pa.float32()),
        "dec_error": _array(rng.gamma(2.0, 0.1, n), pa.float32()),
        "ecl_lat": _array(rng.uniform(5.0, 20.0, n), pa.float64()),
    }


def _photometry(n: int, rng: np.random.Generator) -> dict[str, pa.Array]:
    g = 21.0 - rng.exponential(2.2, n)
    colour = rng.normal(1.0, 0.35, n)
    no_g = rng.random(n) < 0.003
    no_bp = no_g | (rng.random(n) < 0.02)
    return {
        "phot_g_mean_mag": _array(g, pa.float32(), no_g),
        "phot_bp_mean_mag": _array(g + 0.5 * colour, pa.float32(), no_bp),
        "phot_rp_mean_mag": _array(g - 0.5 * colour, pa.float32(), no_g),
        "bp_rp": _array(colour, pa.float32(), no_bp),
        "phot_bp_rp_excess_factor": _array(1.2 + 0.1 * rng.random(n), pa.float32(), no_bp),
    }


def _astrometry(n: int, rng: np.random.Generator) -> dict[str, pa.Array]:
    """Draw solutions with two, five and six parameters: the first have positions alone."""
    solved = rng.choice([3, 31, 95], n, p=[0.08, 0.62, 0.3])
    two = solved == 3
    columns = {
        "pmra": _array(rng.normal(-2.0, 6.0, n), pa.float64(), two),
        "pmdec": _array(rng.normal(-4.0, 6.0, n), pa.float64(), two),
        "parallax": _array(rng.normal(0.2, 0.3, n) + rng.exponential(0.6, n), pa.float64(), two),
    }
    for name in ("pmra_error", "pmdec_error", "parallax_error"):
        columns[name] = _array(rng.gamma(2.0, 0.12, n), pa.float32(), two)
    for name in ("pmra_pmdec_corr", "parallax_pmra_corr", "parallax_pmdec_corr"):
        columns[name] = _array(rng.uniform(-1.0, 1.0, n), pa.float32(), two)
    return columns | {
        "ruwe": _array(0.8 + rng.gamma(2.0, 0.12, n), pa.float32(), two),
        "visibility_periods_used": _array(rng.integers(5, 30, n), pa.int16()),
        "matched_transits": _array(rng.integers(8, 90, n), pa.int16()),
        "astrometric_params_solved": _array(solved, pa.int16()),
        "nu_eff_used_in_astrometry": _array(rng.uniform(1.2, 1.8, n), pa.float32(), solved != 31),
        "pseudocolour": _array(rng.uniform(1.2, 1.8, n), pa.float32(), solved != 95),
    }


def _velocities(n: int, rng: np.random.Generator, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    g = columns["phot_g_mean_mag"].to_numpy(zero_copy_only=False)
    faint = ~(g < 16.0)
    return {
        "radial_velocity": _array(rng.normal(0.0, 90.0, n), pa.float32(), faint),
        "radial_velocity_error": _array(rng.gamma(2.0, 1.5, n), pa.float32(), faint),
    }


def _as_dr2(columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Return the columns of DR2: RUWE stands in a table of its own."""
    n = len(columns["source_id"])
    del columns["ruwe"], columns["nu_eff_used_in_astrometry"]
    columns["matched_observations"] = columns.pop("matched_transits")
    columns["astrometric_pseudo_colour"] = columns.pop("pseudocolour").cast(pa.float64())
    return columns | {"ref_epoch": pa.array(np.full(n, 2015.5))}


def _as_ruwe(columns: dict[str, pa.Array], rng: np.random.Generator) -> dict[str, pa.Array]:
    """Return RUWE by identifier: as in the archive, sources of two parameters have none."""
    table = pa.table({"source_id": columns["source_id"], "ruwe": columns["ruwe"]})
    table = table.filter(table["ruwe"].is_valid())
    table = table.take(rng.permutation(len(table)))
    return {name: table[name].combine_chunks() for name in table.column_names}


def _as_mock(columns: dict[str, pa.Array], kind: str, rng: np.random.Generator) -> dict[str, pa.Array]:
    """Return the columns of a mock catalogue: all stars have astrometry, none a measured quality."""
    n = len(columns["source_id"])
    for name, kept in list(columns.items()):
        if name in _UNMEASURED:
            del columns[name]
        elif name.startswith(("pm", "parallax")):
            columns[name] = _array(rng.choice(np.asarray(kept.drop_null()), n), kept.type)
    if kind == "galaxia-dr3":
        popid = _array(rng.integers(0, 12, n), pa.int16())
        return columns | {"ref_epoch": pa.array(np.full(n, 2016.0)), "popid": popid}
    columns = {name: column for name, column in columns.items() if not name.endswith("_corr")}
    del columns["astrometric_params_solved"]
    # So it stands in the published table.
    columns["visiblilty_periods_used"] = columns.pop("visibility_periods_used")
    return columns | {"ref_epoch": pa.array(np.full(n, 2015.5))}


_UNMEASURED = (
    "ruwe",
    "matched_transits",
    "nu_eff_used_in_astrometry",
    "pseudocolour",
    "phot_bp_rp_excess_factor",
)

#: The tables of every run, by the name of the source that reads them. RUWE has the seed of its sources.
SKIES = {
    "gaia-dr3": (Sky("gaiadr3", "gaia_source", 20_000, 30, "gaia-dr3"),),
    "gaia-dr2": (
        Sky("gaiadr2", "gaia_source", 6_000, 20, "gaia-dr2"),
        Sky("gaiadr2", "ruwe", 6_000, 20, "ruwe"),
    ),
    "galaxia-dr2": (Sky("gdr2mock", "main", 6_000, 21, "galaxia-dr2"),),
    "galaxia-dr3": (Sky("gedr3mock", "main", 6_000, 31, "galaxia-dr3"),),
}

#: The table of the measurement.
BIG = Sky("gaiadr3big", "gaia_source", 1_000_000, 33, "gaia-dr3")

"""The catalogues that can be downloaded: where they lie, what their columns are called, what is cut there.

Sources of the names: Gaia's data models of DR2 and DR3 (ESA, gea.esac.esa.int/archive/documentation);
the VOTables and the Galaxia_wrap scripts of GDR2mock and GeDR3mock (GAVO data centre, dc.g-vo.org;
Rybizki et al. 2018, PASP 130, 074101, and 2020, PASP 132, 074501, arXiv 2004.09991). A catalogue gives
every spelling that is known of a column; which of them a service has is asked before the first download.

Every ``source_id``, also of the mocks, is the HEALPix cell (level 12, NESTED, ICRS) times 2**35 and a
number within the cell, so a cell is a range of identifiers. Nothing else says where a cell lies on the sky:
an index on ``source_id`` is what every archive has.

The populations of GeDR3mock (``popid``; GDR2mock was published without): 0 to 6 thin disc by age, 7 thick
disc, 8 halo, 9 bulge (Galaxia's numbers), 10 the Magellanic Clouds, 11 open clusters.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from viamachinae.config.settings import SelectionSettings, Settings
from viamachinae.errors import ConfigError
from viamachinae.schema import CELLS

__all__ = ["Catalogue", "catalogue_for", "names_in"]

_ESA = "https://gea.esac.esa.int/tap-server/tap"
_GAVO = "https://dc.g-vo.org/tap"

# What a later step can do to a star near a limit, so that nothing is left in the archive that it would keep.
# A margin depends on the source alone: no setting of a later step asks for another download.
# The zero-point of Lindegren et al. (2021, A&A 649, A4), to be subtracted, is negative for most stars, which
# makes parallaxes larger; where its formulae are valid it lies between -0.149 and 0.121 mas, so that no
# parallax gets smaller by more than this.
_ZERO_POINT = 0.15  # mas
# The mocks are free of noise and get theirs later: of 1e9 stars, one is moved by more than this.
_SIGMAS = 6


@dataclass(frozen=True)
class Catalogue:
    """A table of a TAP service, how it names the columns of ``schema.CELLS``, and what is cut there.

    Parameters
    ----------
    name : str
        The source of the settings: gaia-dr2, gaia-dr3, galaxia-dr2 or galaxia-dr3.
    url : str
        The TAP service.
    table : str
        The table, schema.name.
    release : str
        The Gaia release whose data model it follows: gaia-dr2 or gaia-dr3.
    columns : mapping
        Column of ``schema.CELLS``: its names or ADQL expressions in the archive, the first that the table
        has the columns for is asked for.
    cuts : tuple of str
        Conditions in ADQL on the archive's own columns, all to be met; never tighter than the selection.
    ruwe_table : str
        Table with ``source_id`` and ``ruwe`` beside one without; empty: none is known.
    """

    name: str
    url: str
    table: str
    release: str
    columns: Mapping[str, tuple[str, ...]]
    cuts: tuple[str, ...] = ()
    ruwe_table: str = ""

    def expressions(self, present: Collection[str]) -> dict[str, str]:
        """Return the ADQL of every column that a table with the columns ``present`` can give, in order."""
        found = {}
        for column in CELLS.names:
            for expression in self.columns.get(column, ()):
                if names_in(expression) <= set(present):
                    found[column] = expression
                    break
        return found


def names_in(adql: str) -> set[str]:
    """Return the columns that a simple ADQL expression or condition names, in lower case."""
    return {name.lower() for name in re.findall(r"\b[A-Za-z_]\w*", adql)}


def catalogue_for(settings: Settings) -> Catalogue:
    """Return the catalogue of ``settings.stars.source``, at ``settings.archive.url`` and ``.table``.

    Raises
    ------
    ConfigError
        The source does not download.
    """
    known = _CATALOGUES.get(settings.stars.source)
    if known is None:
        msg = (
            f'stars.source = "{settings.stars.source}" downloads nothing; '
            f"sources that do: {', '.join(_CATALOGUES)}"
        )
        raise ConfigError(msg)
    table = settings.archive.table or known.table
    return replace(
        known,
        url=(settings.archive.url or known.url).rstrip("/?"),
        table=table,
        cuts=_cuts(settings.selection, noise_free=known.name.startswith("galaxia-")),
        ruwe_table=f"{table.split('.')[0]}.ruwe" if known.ruwe_table else "",
    )


def _cuts(selection: SelectionSettings, *, noise_free: bool) -> tuple[str, ...]:
    """Return the cheap cuts, with the margins that later corrections and noise of parallaxes need."""
    cuts = []
    if selection.parallax_max is not None:
        limit = selection.parallax_max + (0.0 if noise_free else _ZERO_POINT)
        noise = f" + {_SIGMAS} * parallax_error" if noise_free else ""
        cuts.append(f"parallax < {_number(limit)}{noise}")
    if selection.g_max is not None:
        cuts.append(f"phot_g_mean_mag < {_number(selection.g_max)}")
    return tuple(cuts)


def _number(value: float) -> str:
    """Return a decimal number as every ADQL parser reads it, negative ones in brackets."""
    text = f"{value:.12f}".rstrip("0")
    text += "0" if text.endswith(".") else ""
    return f"({text})" if value < 0 else text


def _named(*, without: Collection[str] = (), **spellings: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Return the names of all columns: Gaia DR3's own, but for other spellings and columns left out."""
    names = {c: (c,) for c in CELLS.names if c not in without}
    return MappingProxyType(names | {"bp_rp": ("bp_rp", "phot_bp_mean_mag - phot_rp_mean_mag")} | spellings)


# Columns that the mocks fill with nothing: no quality of a measurement was simulated.
_UNMEASURED = (
    "phot_bp_rp_excess_factor",
    "ruwe",
    "matched_transits",
    "nu_eff_used_in_astrometry",
    "pseudocolour",
)
_CORRELATIONS = ("pmra_pmdec_corr", "parallax_pmra_corr", "parallax_pmdec_corr")

_CATALOGUES = {
    "gaia-dr3": Catalogue("gaia-dr3", _ESA, "gaiadr3.gaia_source", "gaia-dr3", _named(without=("popid",))),
    "gaia-dr2": Catalogue(
        "gaia-dr2",
        _ESA,
        "gaiadr2.gaia_source",
        "gaia-dr2",
        _named(
            without=("popid", "nu_eff_used_in_astrometry"),
            matched_transits=("matched_observations",),
            pseudocolour=("astrometric_pseudo_colour",),
        ),
        ruwe_table="gaiadr2.ruwe",
    ),
    "galaxia-dr3": Catalogue("galaxia-dr3", _GAVO, "gedr3mock.main", "gaia-dr3", _named(without=_UNMEASURED)),
    "galaxia-dr2": Catalogue(
        "galaxia-dr2",
        _GAVO,
        "gdr2mock.main",
        "gaia-dr2",
        _named(
            without=(*_UNMEASURED, *_CORRELATIONS, "astrometric_params_solved"),
            # as it stood in the published table
            visibility_periods_used=("visibility_periods_used", "visiblilty_periods_used"),
        ),
    ),
}

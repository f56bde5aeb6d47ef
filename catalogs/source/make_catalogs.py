"""Make the tables of known objects in ``catalogs/`` from those that their authors published.

    python catalogs/source/make_catalogs.py SOURCES [--out catalogs]

SOURCES is a folder with the files of :data:`FILES`; catalogs/README.md says where each comes from.
The same sources give the same bytes. Facts are copied and rounded, never changed, but for what each
function says.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pandas as pd
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Column, MaskedColumn, Table

#: What is read: key -> file in SOURCES.
FILES = {
    "motions": "vasiliev_baumgardt2021_gc_result.txt",
    "harris": "lvdb_gc_harris.csv",
    "new": "lvdb_gc_mw_new.csv",
    "dwarfs": "lvdb_dwarf_mw.csv",
    "open": "hr24-oc.ecsv",
}
VB21 = "Vasiliev2021MNRAS.505.5978V"
LVDB = (
    "Pace A. B. 2025, The Open Journal of Astrophysics 8, 142 (Local Volume Database, arXiv:2411.07424); CC0"
)
MOTIONS = "Vasiliev E., Baumgardt H. 2021, MNRAS 505, 5978 (doi:10.1093/mnras/stab1475)"
CENSUS = "Hunt E. L., Reffert S. 2024, A&A 686, A42 (doi:10.1051/0004-6361/202348662); CC BY 4.0"
HARRIS = "Harris W. E. 1996, AJ 112, 1487, edition of 2010 (arXiv:1012.3224): which clusters are listed"
CLOUDS = ("lmc", "smc")
#: Two entries are one cluster when they are closer than this, or have one name.
SAME = 0.05  # deg

COLUMNS = {
    "name": ("", "name of the object"),
    "other_name": ("", "designation of Vasiliev & Baumgardt (2021), where it differs"),
    "ra": ("deg", "right ascension (ICRS)"),
    "dec": ("deg", "declination (ICRS)"),
    "half_light_radius": ("arcmin", "radius of half the light, on the sky; of a galaxy along its major axis"),
    "field_radius": ("arcmin", "radius of the field in which Vasiliev & Baumgardt (2021) looked for members"),
    "limiting_radius": ("arcmin", "limiting radius of a King (1962) profile"),
    "pmra": ("mas / yr", "proper motion in right ascension, times cos(dec)"),
    "pmdec": ("mas / yr", "proper motion in declination"),
    "distance": ("kpc", "distance from the Sun"),
    "reference": ("", "bibcodes: size, then proper motion"),
}
DIGITS = {"ra": 4, "dec": 4, "pmra": 3, "pmdec": 3, "distance": 2}


def make(sources: Path, out: Path) -> None:
    """Write every table of ``catalogs/`` into ``out``."""
    clusters = globular_clusters(sources)
    galaxies = pd.read_csv(sources / FILES["dwarfs"])
    cloud = galaxies["key"].isin(CLOUDS)
    real = galaxies["confirmed_real"] == 1
    table = {
        "globular_clusters": (clusters, "globular clusters of the Milky Way", [MOTIONS, LVDB, HARRIS]),
        "dwarf_galaxies": (lvdb(galaxies[real & ~cloud]), "dwarf galaxies of the Milky Way", [LVDB]),
        "magellanic_clouds": (lvdb(galaxies[cloud]), "the Large and the Small Magellanic Cloud", [LVDB]),
        "open_clusters": (
            open_clusters(sources, clusters),
            "open clusters and moving groups, globular clusters left out",
            [CENSUS],
        ),
    }
    for name, (rows, description, references) in table.items():
        write(rows, out / f"{name}.ecsv", description, references)


def globular_clusters(sources: Path) -> pd.DataFrame:
    """Return the clusters of both lists, each once.

    Those of the Local Volume Database that it calls confirmed, with their sizes,
    and all of Vasiliev & Baumgardt. Position, proper motion and distance are
    the latter's where they have the cluster.
    """
    listed = pd.concat([pd.read_csv(sources / FILES[key]) for key in ("harris", "new")], ignore_index=True)
    rows = lvdb(listed)
    motions = pd.read_csv(sources / FILES["motions"], sep=r"\s+", comment="#", header=None)
    motions = motions[[0, 1, 2, 3, 8, 9, 10]]
    motions.columns = ["other_name", "ra", "dec", "distance", "field_radius", "pmra", "pmdec"]
    motions["other_name"] = motions["other_name"].str.replace("_", " ").replace("Ko 2", "Koposov 2")
    index, separation = nearest(motions, rows)
    names = {plain(name): i for i, name in enumerate(rows["name"])}
    found = [
        names.get(plain(name), i if s <= SAME else -1)
        for name, i, s in zip(motions["other_name"], index, separation, strict=True)
    ]
    known = np.array(found) >= 0
    theirs = motions[known].set_axis(np.array(found)[known])
    if not theirs.index.is_unique:
        msg = f"two of {FILES['motions']} are one cluster of the Local Volume Database: {theirs}"
        raise ValueError(msg)
    rows["reference"] = rows["reference"].where(~rows.index.isin(theirs.index), rows["size_reference"])
    rows.loc[theirs.index, theirs.columns] = theirs
    references = rows.loc[theirs.index, "reference"]
    rows.loc[theirs.index, "reference"] = [f"{size} {VB21}".strip() for size in references]
    same = rows["other_name"].fillna("").map(plain) == rows["name"].map(plain)
    rows["other_name"] = rows["other_name"].where(~same)
    alone = motions[~known].assign(name=motions["other_name"], other_name=None, reference=VB21)
    kept = rows[(listed["confirmed_real"] == 1).to_numpy() | rows.index.isin(theirs.index)]
    return pd.concat([kept, alone], ignore_index=True)


def lvdb(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of the Local Volume Database with the names and units of this catalogue."""
    size, motion = rows["ref_structure"].fillna(""), rows["ref_proper_motion"].fillna("")
    both = size + np.where((size != "") & (motion != "") & (size != motion), " ", "")
    return pd.DataFrame(
        {
            "name": rows["name"],
            "ra": rows["ra"],
            "dec": rows["dec"],
            "half_light_radius": rows["rhalf"],
            "limiting_radius": rows["rking"],
            "pmra": rows["pmra"],
            "pmdec": rows["pmdec"],
            "distance": rows["distance"],
            "reference": both + motion.where(size != motion, ""),
            "size_reference": size,
        }
    )


def open_clusters(sources: Path, globular: pd.DataFrame) -> pd.DataFrame:
    """Return the open clusters, without the globular clusters that the census holds as well."""
    rows = pd.read_csv(sources / FILES["open"], sep=" ", comment="#")
    rows.columns = ["name", "ra", "dec"]
    _, separation = nearest(rows, globular)
    names = {plain(name) for name in [*globular["name"], *globular["other_name"].dropna()]}
    return rows[(separation > SAME) & ~rows["name"].map(plain).isin(names)].reset_index(drop=True)


def nearest(rows: pd.DataFrame, others: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of ``rows`` the index of the nearest of ``others`` and its distance (deg)."""
    here, there = (SkyCoord(f["ra"].to_numpy(), f["dec"].to_numpy(), unit="deg") for f in (rows, others))
    index, separation, _ = here.match_to_catalog_sky(there)
    return index, separation.deg


def plain(name: str) -> str:
    """Return a name without blanks, dashes, zeros in front, and in lower case."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s_-]", "", name.lower()))


def write(rows: pd.DataFrame, path: Path, description: str, references: list[str]) -> None:
    """Write an ECSV table in the order of the names, with units, descriptions and provenance."""
    rows = rows.assign(order=rows["name"].map(natural)).sort_values("order", kind="stable")
    table = Table(meta={"description": description, "references": references})
    for name, (unit, words) in COLUMNS.items():
        if name not in rows:
            continue
        values = rows[name]
        if values.dtype.kind in "if":
            number = np.round(values.to_numpy(float), DIGITS.get(name, 2))
            column = MaskedColumn(number, mask=np.isnan(number)) if np.isnan(number).any() else Column(number)
        else:
            column = Column(values.fillna("").to_numpy(str))
        column.description, column.unit = words, units.Unit(unit) if unit else None
        table[name] = column
    table.write(path, format="ascii.ecsv", delimiter=",", overwrite=True)


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """Return what sorts NGC 288 before NGC 1261."""
    return tuple((word, int(number or 0)) for word, number in re.findall(r"(\D+)(\d*)|^\d+", name.lower()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", type=Path, metavar="SOURCES")
    parser.add_argument("--out", type=Path, default=Path("catalogs"))
    arguments = parser.parse_args()
    make(arguments.sources, arguments.out)

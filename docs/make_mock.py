"""Draw the streams that docs/mock_streams.toml injects from the orbits of their progenitors.

    python docs/make_mock.py [--tracks GALSTREAMS.parquet] [--out docs/figures/mock_streams.png]

Half a minute; needs gala (the extra ``orbits``). docs/mock.md says what the figure shows.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from viamachinae.config.mocksky import MockProgenitor, MockSettings
from viamachinae.config.toml import load
from viamachinae.sky.circles import GreatCircle
from viamachinae.stars.mock.galactocentric import proper_motions, sky_position
from viamachinae.stars.mock.progenitors import orbit, spray
from viamachinae.stars.mock.streams import stream_stars

_LOG = logging.getLogger("make_mock")

HERE = Path(__file__).parent
#: Known tracks (name, reference) that are drawn beside the made streams.
KNOWN = {"like GD-1": ("GD-1", "ibata2021"), "like Pal 5": ("Pal5", "pricewhelan2019")}
LIMITS = {"like GD-1": (-75.0, 75.0), "like Pal 5": (-25.0, 25.0)}


def path(progenitor: MockProgenitor, around: float) -> NDArray[np.float64]:
    """Return ra, dec, distance, pmra and pmdec of the orbit over so many Gyr around today."""
    halves = [orbit(progenitor, sign * np.linspace(0.0, around, 200)) for sign in (-1.0, 1.0)]
    xyz, velocity = (
        tuple(np.concatenate([a[:0:-1], b]) for a, b in zip(halves[0][k], halves[1][k], strict=True))
        for k in (0, 1)
    )
    place = sky_position(xyz)
    return np.stack([*place, *proper_motions(*place, velocity)])


def draw(mock: MockSettings, known: pd.DataFrame | None, out: Path) -> None:
    """Draw a row a stream: its track, distances, proper motions and colour-magnitude diagram."""
    stars = stream_stars(mock, 1)
    figure = Figure(figsize=(15.0, 3.6 * len(mock.progenitors)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(mock.progenitors), 4, squeeze=False, width_ratios=(2.2, 1.4, 1.4, 1))
    for line, progenitor in zip(panels, mock.progenitors, strict=True):
        own = stars[stars["truth"] == progenitor.name]
        way = path(progenitor, 0.12)
        middle = way.shape[1] // 2
        circle = GreatCircle.from_points(*way[:2, middle], *way[:2, middle + 1])
        curves = {"orbit of the progenitor": (way, "k-")}
        if known is not None:
            name, reference = KNOWN[progenitor.name]
            track = known[(known["stream"] == name) & (known["ref"] == reference)]
            columns = ["ra", "dec", "distance", "pm_ra_cosdec", "pm_dec"]
            curves[f"{name}, {reference}"] = (track[columns].to_numpy().T, "b--")
        _row(line, own, circle, curves, LIMITS[progenitor.name])
        ra, dec, distance = sky_position(spray(progenitor, 600, 1).xyz)
        line[1].plot(circle.phi1(ra, dec), distance, ".", c="tab:orange", ms=2.5)
        near = np.abs(circle.phi1(way[0], way[1])) < LIMITS[progenitor.name][1]
        line[1].set_ylim(way[2][near].min() - 1.5, way[2][near].max() + 1.5)
        line[0].set_title(f"{progenitor.name}: {len(own)} stars to G = {mock.g_max:g}", fontsize=10)
    figure.savefig(out, dpi=110)


def _row(line: Any, own: pd.DataFrame, circle: GreatCircle, curves: Any, limits: tuple[float, float]) -> None:
    phi1, phi2 = circle.to_frame(own["ra"].to_numpy(), own["dec"].to_numpy())
    pm1, _ = circle.rotate_pm(*(own[name].to_numpy() for name in ("ra", "dec", "pmra", "pmdec")))
    line[0].plot(phi1, phi2, ".", c="tab:orange", ms=2.5, label="stars")
    line[2].errorbar(phi1, pm1, own["pmra_error"], fmt=".", c="tab:orange", ms=2.5, lw=0.2)
    line[3].plot(own["bp_rp"], own["phot_g_mean_mag"], ".", c="tab:orange", ms=2.5)
    for label, (way, style) in curves.items():
        along, across = circle.to_frame(way[0], way[1])
        order = np.argsort(along)
        motion, _ = circle.rotate_pm(way[0], way[1], way[3], way[4])
        for axes, values in zip(line, (across, way[2], motion), strict=False):
            axes.plot(along[order], values[order], style, lw=1, label=label, zorder=3)
    line[0].legend(fontsize=7)
    line[0].set(ylabel="phi2 (deg)", ylim=(-6.0, 6.0))
    line[1].set(ylabel="distance (kpc)")
    line[2].set(ylabel="proper motion in phi1 (mas/yr)")
    for axes in line[:3]:
        axes.set(xlim=limits, xlabel="phi1 from the progenitor (deg)")
    line[3].set(xlabel="BP-RP (mag)", ylabel="G (mag)", xlim=(-0.3, 1.8))
    line[3].invert_yaxis()


def main() -> None:
    """Make the streams and draw them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tracks", type=Path, help="tracks of known streams (galstreams, as Parquet)")
    parser.add_argument("--out", type=Path, default=HERE / "figures" / "mock_streams.png")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    mock = load(HERE / "mock_streams.toml").mock
    draw(mock, pd.read_parquet(arguments.tracks) if arguments.tracks else None, arguments.out)
    _LOG.info("wrote %s", arguments.out)


if __name__ == "__main__":
    main()

"""The demo: a mock sky with one stream, searched from end to end, and compared with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from viamachinae.config.settings import MockStream, Settings
from viamachinae.errors import ConfigError, TaskError

__all__ = ["TOLERANCES", "Comparison", "compare", "demo", "true_members"]


@dataclass(frozen=True)
class Tolerances:
    """What a found stream must meet: all of them.

    Parameters
    ----------
    offset : float
        Largest distance of the candidate's middle from the true great circle (deg).
    angle : float
        Largest angle between the two great circles (deg).
    purity, completeness : float
        Least of each, for members of membership above 0.5 among the stars that pass the fiducial cuts.
    """

    offset: float = 0.5
    angle: float = 3.0
    purity: float = 0.6
    completeness: float = 0.4


#: What the demo calls found.
TOLERANCES = Tolerances()


@dataclass(frozen=True)
class Comparison:
    """The first candidate beside the injected stream.

    Parameters
    ----------
    offset, angle : float
        Of the candidate's great circle from the true one (deg).
    purity, completeness : float
        Of the members of membership above 0.5, among fiducial stars.
    n_members, n_true, n_common : int
        Members, injected fiducial stars, and stars that are both.
    """

    offset: float
    angle: float
    purity: float
    completeness: float
    n_members: int
    n_true: int
    n_common: int

    @property
    def found(self) -> bool:
        """Whether the candidate is the injected stream, within :data:`TOLERANCES`."""
        near = self.offset <= TOLERANCES.offset and self.angle <= TOLERANCES.angle
        return near and self.purity >= TOLERANCES.purity and self.completeness >= TOLERANCES.completeness


def compare(
    candidate: pd.Series, members: pd.DataFrame, truth: pd.DataFrame, stream: MockStream
) -> Comparison:
    """Compare a candidate with the stream that was injected.

    Parameters
    ----------
    candidate : Series
        Row of STREAMS.
    members : DataFrame
        MEMBERS of all candidates.
    truth : DataFrame
        The injected fiducial stars (``source_id``), each once.
    stream : MockStream
        What was injected.
    """
    start, end = (_unit(*point) for point in (stream.start, stream.end))
    pole = np.cross(start, end)
    pole /= np.linalg.norm(pole)
    found_pole = _unit(candidate["pole_ra"], candidate["pole_dec"])
    middle = _unit(candidate["ra"], candidate["dec"])
    mine = members["stream_id"].to_numpy() == candidate["stream_id"]
    own = members[mine & (members["membership"].to_numpy() > 0.5)]
    common = int(np.isin(own["source_id"].to_numpy(), truth["source_id"].to_numpy()).sum())
    return Comparison(
        offset=float(np.degrees(abs(np.arcsin(np.clip(middle @ pole, -1, 1))))),
        angle=float(np.degrees(np.arccos(np.clip(abs(found_pole @ pole), 0, 1)))),
        purity=common / max(1, len(own)),
        completeness=common / max(1, len(truth)),
        n_members=len(own),
        n_true=len(truth),
        n_common=common,
    )


def _unit(ra: float, dec: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    lon, lat = np.radians([ra, dec])
    return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def true_members(out: Path, stream: str) -> pd.DataFrame:
    """Return the injected stars of a stream that pass the fiducial cuts of any patch, each once."""
    from viamachinae.scan.results import finished
    from viamachinae.schema import STARS

    scan = finished(out)
    frames = []
    for ref in scan.streams_task.of("stars"):
        columns = ["source_id", "fiducial", "truth"]
        stars = scan.store.read(ref, f"stars/{ref.name}.parquet", STARS, columns=columns)
        chosen = stars["fiducial"].to_numpy() & (stars["truth"].astype(object) == stream).to_numpy()
        frames.append(stars.loc[chosen, ["source_id"]])
    return pd.concat(frames, ignore_index=True).drop_duplicates("source_id", ignore_index=True)


def demo(settings: Settings, out: Path) -> None:
    """Search the demo's sky and compare the first candidate with the injected stream.

    Raises
    ------
    ConfigError
        The settings inject no stream.
    TaskError
        The stream was not found within :data:`TOLERANCES`.
    """
    from viamachinae.cli.commands import candidates_table
    from viamachinae.cli.run import search

    if settings.stars.source != "mock" or not settings.mock.streams:
        msg = 'the demo needs stars.source = "mock" and one stream in mock.streams'
        raise ConfigError(msg)
    result = search(settings, out)
    streams = result.streams()
    console = Console()
    console.print(candidates_table(streams))
    if streams.empty:
        msg = f"no candidate was found, though a stream was injected; look at {out}/report/index.html"
        raise TaskError(msg)
    from viamachinae.scan.results import finished

    injected = settings.mock.streams[0]
    compared = compare(streams.iloc[0], finished(out).members(), true_members(out, injected.name), injected)
    console.print(_table(compared, injected))
    console.print(f"report: {out / 'report' / 'index.html'}", soft_wrap=True)
    if not compared.found:
        msg = f"the first candidate is not the injected stream within the tolerances; look at {out}/report"
        raise TaskError(msg)
    console.print(f"[green]found[/green]: the first candidate is the injected stream {injected.name}")


def _table(compared: Comparison, stream: MockStream) -> Table:
    table = Table(title=f"first candidate beside the truth ({stream.name})", title_justify="left")
    for heading in ("", "found", "asked"):
        table.add_column(heading, justify="left" if not heading else "right")
    limits = TOLERANCES
    table.add_row("offset from the true circle (deg)", f"{compared.offset:.2f}", f"<= {limits.offset}")
    table.add_row("angle to the true circle (deg)", f"{compared.angle:.2f}", f"<= {limits.angle}")
    table.add_row("members (membership > 0.5)", str(compared.n_members), "")
    table.add_row("injected stars that pass the cuts", str(compared.n_true), "")
    table.add_row("purity", f"{compared.purity:.2f}", f">= {limits.purity}")
    table.add_row("completeness", f"{compared.completeness:.2f}", f">= {limits.completeness}")
    return table

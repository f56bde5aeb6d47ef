"""The part of the page about the scan itself: settings, stars, trainings, time, and what it all means."""

from __future__ import annotations

import json

import pandas as pd

from viamachinae import __version__
from viamachinae.calibration import CAVEATS, explain
from viamachinae.config.settings import RoiSettings, Settings
from viamachinae.report.data import ReportData
from viamachinae.report.figures import patches_figure
from viamachinae.report.html import details, facts, number, picture, table, text
from viamachinae.report.masks import masks_section
from viamachinae.report.roi_figures import all_rois_figure
from viamachinae.sky.windows import WHOLE_REGION

__all__ = ["calibration_text", "headline", "meaning", "scan_facts", "scan_summary"]

_SOURCES = {
    "gaia-dr2": "Gaia DR2",
    "gaia-dr3": "Gaia DR3",
    "galaxia-dr2": "GDR2mock (Galaxia)",
    "galaxia-dr3": "GeDR3mock (Galaxia)",
    "mock": "embedded mock sky",
}
#: More rows than this are summed up by patch and coordinate.
_MOST_REGIONS = 240


def headline(data: ReportData) -> str:
    """Return one sentence that says what was searched and what was found (plain text)."""
    n = len(data.streams)
    found = "No stream candidate" if n == 0 else f"{n} stream candidate{'s' if n > 1 else ''}"
    patches = len(data.patches)
    return (
        f"{found} in {patches} patch{'es' if patches != 1 else ''} of the sky, from "
        f"{len(data.rois):,} regions of interest in {len(data.best_fits()):,} signal regions."
    )


def scan_facts(data: ReportData) -> str:
    """Return the few settings a reader asks for first (HTML)."""
    s = data.settings
    density = "" if s.scorer.name == "cwola" else f" on {s.density.name}"
    source = f"files, {s.stars.release}" if s.stars.source == "files" else _SOURCES[s.stars.source]
    return facts(
        {
            "stars": text(source),
            "patch radius": f"{s.patches.radius:g}° "
            f"<span class=soft>({s.fiducial.radius:g}° searched)</span>",
            "fiducial cuts": f"G &lt; {s.fiducial.g_max:g}, {s.fiducial.colour[0]:g} ≤ BP−RP ≤ "
            f"{s.fiducial.colour[1]:g}",
            "signal regions": f"{s.regions.width:g} mas/yr every {s.regions.stride:g}",
            "scorer": text(f"{s.scorer.name}{density}"),
            "version": text(__version__),
        }
    )


def scan_summary(data: ReportData) -> str:
    """Return maps and tables of the scan as a whole (HTML)."""
    parts = []
    if len(data.patches):
        parts.append(
            picture(
                patches_figure(data),
                "map of the patches",
                "Patches (blue), the tracks of the candidates (vermilion) and masked known objects (grey).",
            )
        )
    parts += [
        "<h3>Lines in all regions of interest</h3>",
        picture(
            all_rois_figure(data),
            "distribution of line significance",
            "The best line of each region of interest. Neighbouring regions share stars, so they repeat "
            "each other; the bulk at low significance is what chance gives. Lines that count for nothing "
            "stand at 0.",
        ),
        "<h3>Stars</h3>",
        _star_table(data),
        "<h3>Masked known objects</h3>",
        masks_section(data),
        "<h3>Signal regions</h3>",
        _region_table(data),
        "<h3>Time</h3>",
        _time_table(data),
        "<h3>Settings</h3>",
        details(
            "All settings; those that differ from their default are bold", _settings_table(data.settings)
        ),
    ]
    return "\n".join(parts)


def calibration_text(data: ReportData) -> str:
    """Return what the null scan says of the whole scan, or that candidates have no p-value (HTML)."""
    if data.rates is not None:
        return f"<p>{text(explain(data.rates))}</p>"
    if data.calibration is not None:
        return "<p>The p-values come from a null scan; see each candidate.</p>"
    if len(data.streams) == 0:
        return ""
    return (
        "<p>This scan is <b>not calibrated</b>: no p-value stands behind these candidates yet. Search a "
        "streamless sky with the same settings and run <code>viamachinae calibrate</code>.</p>"
    )


def meaning() -> str:
    """Return the section that explains the numbers of the page (HTML)."""
    items = [
        (
            "<b>Significance</b> (σ) is the tail probability of the stars on a line against its "
            "surroundings, before any look-elsewhere correction, written as Gaussian sigma; patches add in "
            "quadrature. Where a fit of that slice alone ranked the stars, a line counts for no more than "
            "the held-out likelihood ratio of the fit (unless <code>lines.held_out</code> is off)."
        ),
        (
            "<b>p-value</b>: the chance that a search of a streamless sky of the same area gives at least "
            "one candidate this significant, from a null scan. <b>q-value</b>: the smallest expected share "
            "of false candidates in a list that holds this one and all better ones."
        ),
        (
            "<b>Membership</b>: the probability that a star belongs to the candidate rather than to its "
            "surroundings, if the candidate is real. <b>Members</b> counts stars above 0.5; in brackets the "
            "sum of memberships."
        ),
        (
            "<b>Trainings</b>: signal regions whose models were trained separately and agree on the line. "
            "They share stars."
        ),
        *(text(caveat) for caveat in CAVEATS),
    ]
    return "<ul>" + "\n".join(f"<li>{item}</li>" for item in items) + "</ul>"


def _star_table(data: ReportData) -> str:
    if not data.star_counts:
        return "<p class=soft>No star counts were recorded.</p>"
    steps = list(dict.fromkeys(step for counts in data.star_counts.values() for step in counts))
    header = ["patch", *(text(step.replace("_", " ")) for step in steps)]
    rows = [
        [text(patch), *(f"{counts[step]:,}" if step in counts else "–" for step in steps)]
        for patch, counts in data.star_counts.items()
    ]
    return table(header, rows)


def _region_table(data: ReportData) -> str:
    best = data.best_fits()
    if len(best) == 0:
        return "<p class=soft>No signal region held enough stars to be scored.</p>"
    if len(best) > _MOST_REGIONS:
        return _region_sums(best)
    header = ["patch", "coordinate", "window<small>mas/yr</small>", "stars in region", "in sideband", "fits"]
    header += ["best in slice<small>mas/yr</small>", "its stars", "ll data<small>nat a star</small>"]
    header += ["ll background<small>nat a star</small>", "statistic<small>nat</small>", "signal fraction"]
    rows = [
        [
            text(r.patch),
            text(r.coordinate),
            f"{number(r.low, 1)} to {number(r.high, 1)}",
            f"{r.n_sr:,}",
            f"{r.n_sb:,}",
            f"{r.fits:,}",
            _slice(r.slice, data.settings.roi),
            f"{r.n_fiducial:,}",
            number(r.ll_sr, 3),
            number(r.ll_sb, 3),
            number(r.statistic, 1),
            number(r.fraction, 4),
        ]
        for r in best.itertuples()
    ]
    caption = (
        "Of each signal region the fit of best statistic. ll: mean held-out log-likelihood of its fiducial "
        "stars; the statistic is what the data model gains over the background, summed over these stars."
    )
    return details(f"{len(best)} scored signal regions", table(header, rows, caption, left=(0, 1)))


def _slice(index: int, settings: RoiSettings) -> str:
    """Return the edges of a slice (mas/yr), or that a fit was made in the whole region."""
    if index == WHOLE_REGION:
        return "whole region"
    low = index * settings.stride
    return f"{number(low, 1)} to {number(low + settings.width, 1)}"


def _region_sums(best: pd.DataFrame) -> str:
    header = ["patch", "coordinate", "regions", "stars a region", "best statistic<small>nat</small>"]
    rows = [
        [
            text(patch),
            text(coordinate),
            f"{len(group):,}",
            number(group["n_sr"].mean(), 0),
            number(group["statistic"].max(), 1),
        ]
        for (patch, coordinate), group in best.groupby(["patch", "coordinate"], sort=False)
    ]
    body = table(header, rows, left=(0, 1))
    return details(f"{len(best):,} scored signal regions, by patch and coordinate", body)


def _time_table(data: ReportData) -> str:
    if not data.seconds:
        return "<p class=soft>No times were recorded.</p>"
    rows = [[text(stage), number(seconds, 1)] for stage, seconds in data.seconds.items()]
    rows.append(["<b>all</b>", f"<b>{number(sum(data.seconds.values()), 1)}</b>"])
    return table(["stage", "seconds<small>summed over tasks</small>"], rows)


def _settings_table(settings: Settings) -> str:
    defaults = Settings().model_dump(mode="json")
    rows = []
    for section, keys in settings.model_dump(mode="json").items():
        for key, value in keys.items():
            shown = text(json.dumps(value, ensure_ascii=False))
            changed = value != defaults[section][key]
            rows.append([text(f"{section}.{key}"), f"<span class=set>{shown}</span>" if changed else shown])
    return table(["setting", "value"], rows, left=(0, 1))

"""The part of the page about candidates: their table, and a section for each."""

from __future__ import annotations

import math

import pandas as pd

from viamachinae.report.data import ReportData
from viamachinae.report.figures import SHOWN_MEMBERSHIP, candidate_figure
from viamachinae.report.html import facts, number, picture, table, text
from viamachinae.report.roi_figures import candidate_rois_figure

__all__ = ["NOT_CALIBRATED", "candidate_section", "candidate_table", "probability"]

NOT_CALIBRATED = "not calibrated"


def probability(value: float) -> str:
    """Return a probability as HTML, or that there is none."""
    value = float(value)
    if math.isnan(value):
        return f'<span class="soft">{NOT_CALIBRATED}</span>'
    if value >= 0.001:
        return f"{value:.2g}" if value < 0.1 else f"{value:.2f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10<sup>\u2212{abs(int(exponent))}</sup>"


def candidate_table(data: ReportData) -> str:
    """Return the table of all candidates, each linked to its section (HTML)."""
    header = [
        "candidate",
        "significance<small>σ</small>",
        "p-value",
        "members",
        "patches",
        "length<small>deg</small>",
        "width<small>deg</small>",
        "ra<small>deg</small>",
        "dec<small>deg</small>",
        "pm in ra<small>mas/yr</small>",
        "pm in dec<small>mas/yr</small>",
    ]
    rows = [
        [
            f'<a class="id" href="#{_anchor(s)}">{text(s["stream_id"])}</a>',
            number(s["significance"], 1),
            probability(s["p_value"]),
            number(s["n_members"], 0),
            number(s["n_patches"], 0),
            number(s["length"], 1),
            number(s["width"], 2),
            number(s["ra"], 2),
            number(s["dec"], 2),
            number(s["pmra"], 2),
            number(s["pmdec"], 2),
        ]
        for _, s in data.streams.iterrows()
    ]
    return table(header, rows)


def candidate_section(data: ReportData, stream: pd.Series) -> str:
    """Return the section of one candidate: numbers and figures (HTML)."""
    name = text(stream["stream_id"])
    members = data.members[data.members["stream_id"] == stream["stream_id"]]
    judged = int((members["membership"] < SHOWN_MEMBERSHIP).sum())
    n_rois = int(data.candidate_rois(stream).sum())
    stars = (
        f"Coloured: stars by membership. Dark grey: {judged:,} more near the track, of membership below "
        f"{SHOWN_MEMBERSHIP:g}. Light grey: fiducial stars of the patches. Dashed vermilion: the track. "
        "Blue: each patch (dashed) and its searched circle. Grey discs: masked known objects."
    )
    rois = (
        f"{n_rois} regions of interest make this candidate. Left: these among all regions of interest of the "
        "scan. Right: most significant line at each place in proper motion, over the candidate's patches; "
        "the candidate's own are outlined, white places were not searched."
    )
    return "\n".join(
        [
            f'<section class="candidate" id="{_anchor(stream)}">',
            f'<h3><span class="id">{name}</span></h3>',
            facts(_numbers(stream)),
            _calibrated(data, stream),
            picture(candidate_figure(data, stream), f"stars of candidate {stream['stream_id']}", stars),
            picture(candidate_rois_figure(data, stream), f"regions of {stream['stream_id']}", rois),
            "</section>",
        ]
    )


def _numbers(stream: pd.Series) -> dict[str, str]:
    return {
        "significance": f"{number(stream['significance'], 1)} σ",
        "p-value": probability(stream["p_value"]),
        "members": f"{number(stream['n_members'], 0)} "
        f'<span class="soft">(memberships sum to {number(stream["n_expected"], 0)})</span>',
        "centre (ra, dec)": f"{number(stream['ra'], 2)}°, {number(stream['dec'], 2)}°",
        "proper motion": f"{number(stream['pmra'], 2)}, {number(stream['pmdec'], 2)} mas/yr",
        "length × width": f"{number(stream['length'], 1)}° × {number(stream['width'], 2)}°",
        "patches": number(stream["n_patches"], 0),
        "trainings": number(stream["n_trainings"], 0),
    }


def _calibrated(data: ReportData, stream: pd.Series) -> str:
    """Return what the calibration says of the candidate; nothing without one."""
    if data.calibration is None:
        return ""
    rows = data.calibration[data.calibration["stream_id"] == stream["stream_id"]]
    if len(rows) == 0:
        return ""
    row = rows.iloc[0]
    limits = f"{number(row['expected_low'])} to {number(row['expected_high'])}"
    return (
        f"<p>Candidates of the null scan at least this significant: {int(row['n_null'])}; "
        f"false ones expected here: {number(row['expected'])} (95 % limits {limits}). "
        f"p-value {probability(row['p_value'])}, q-value {probability(row['q_value'])}.</p>"
    )


def _anchor(stream: pd.Series) -> str:
    return "candidate-" + text("".join(c if c.isalnum() else "-" for c in str(stream["stream_id"])))

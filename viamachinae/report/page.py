"""The report of a scan: one HTML page that carries its figures with it."""

from __future__ import annotations

from viamachinae.report.candidates import candidate_section, candidate_table
from viamachinae.report.data import ReportData
from viamachinae.report.html import document, text
from viamachinae.report.overview import calibration_text, headline, meaning, scan_facts, scan_summary
from viamachinae.report.stylesheet import STYLESHEET

__all__ = ["ReportData", "render"]

_NONE_FOUND = (
    "<p>No group of independent trainings agreed on a line, so there is no candidate. That is a result, "
    "not a fault: the distribution of lines below says how far the best of them fell short. A fainter, "
    "wider or shorter stream may still be there.</p>"
)


def render(data: ReportData) -> str:
    """Return the report as one HTML page.

    Parameters
    ----------
    data : ReportData
        Results of the scan.

    Returns
    -------
    str
        A whole page (UTF-8) without scripts and without links to anywhere else;
        the figures are PNG inside it. The same results give the same page.
    """
    name = data.settings.scan.name
    body = [
        f"<header><h1>{text(name)}</h1>",
        f'<p class="lead">{text(headline(data))}</p>',
        scan_facts(data),
        "</header><main>",
        "<h2>Candidates</h2>",
        calibration_text(data),
        candidate_table(data) if len(data.streams) else _NONE_FOUND,
        *(candidate_section(data, stream) for _, stream in data.streams.iterrows()),
        "<h2>The scan</h2>",
        scan_summary(data),
        "<h2>What these numbers mean</h2>",
        meaning(),
        "</main>",
        (
            "<footer>Made by viamachinae. Method: Shih, Buckley, Necib and Tamanas (arXiv:2104.12789), "
            "Shih, Buckley and Necib (arXiv:2303.01529).</footer>"
        ),
    ]
    return document(f"{name}: stellar stream candidates", STYLESHEET, "\n".join(body))

"""The part of the page about masks: which known objects were left out, and how many stars with them."""

from __future__ import annotations

import pandas as pd

from viamachinae.report.data import ReportData
from viamachinae.report.html import number, table, text
from viamachinae.sky.masks import circles_of, searched_area

__all__ = ["masks_section"]

#: Objects with more rows than this are summed up.
_MOST_OBJECTS = 20


def masks_section(data: ReportData) -> str:
    """Return what the masks left out: area, stars in all, and the objects with most of them (HTML)."""
    if len(data.masks) == 0 and not data.masked:
        return "<p class=soft>No known object was masked.</p>"
    counts = sorted(data.masked.items(), key=lambda item: (-item[1], item[0]))
    counts = [(name, n) for name, n in counts if n]
    return f"<p>{_summary(data, sum(n for _, n in counts))}</p>" + _object_table(data.masks, counts)


def _summary(data: ReportData, stars: int) -> str:
    area = searched_area(data.patches, data.settings.fiducial.radius, circles_of(data.masks))
    searched = area.union + area.masked
    share = f" ({number(100 * area.masked / searched, 2)} %)" if searched else ""
    of_kind = data.masks["kind"].value_counts(sort=False)
    kinds = ", ".join(f"{text(kind)}: {n:,}" for kind, n in of_kind.items())
    return (
        f"Circles of {len(data.masks):,} known objects reach into the searched sky ({kinds}). They take "
        f"{number(area.masked, 1)} of {number(searched, 1)} deg²{share} and kept {stars:,} stars from being "
        "ranked that passed every other cut; these stars did train the densities. Patches are summed: a star "
        "that two patches search counts twice. A star in two circles counts for the first alone."
    )


def _object_table(masks: pd.DataFrame, counts: list[tuple[str, int]]) -> str:
    if not counts:
        return ""
    facts = masks.drop_duplicates("name").set_index("name")
    shown, rest = counts[:_MOST_OBJECTS], counts[_MOST_OBJECTS:]
    rows = [[text(name), *_facts(facts, name), f"{n:,}"] for name, n in shown]
    if rest:
        rows.append([f"{len(rest):,} more", *["–"] * 4, f"{sum(n for _, n in rest):,}"])
    rows.append(["<b>all</b>", *[""] * 4, f"<b>{sum(n for _, n in counts):,}</b>"])
    header = ["object", "kind", "ra<small>deg</small>", "dec<small>deg</small>", "radius<small>deg</small>"]
    return table([*header, "stars left out"], rows, left=(0, 1))


def _facts(facts: pd.DataFrame, name: str) -> list[str]:
    if name not in facts.index:
        return ["–"] * 4
    row = facts.loc[name]
    return [text(row["kind"]), *(number(row[column], 2) for column in ("ra", "dec", "radius"))]

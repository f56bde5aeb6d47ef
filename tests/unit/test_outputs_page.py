from pathlib import Path

import pytest

from viamachinae.catalog.columns import outputs_page
from viamachinae.schema import TABLES

PAGE = Path(__file__).parents[2] / "docs" / "outputs.md"


def test_the_page_of_tables_is_current():
    assert PAGE.read_text(encoding="utf-8") == outputs_page(), (
        "docs/outputs.md is behind the schema; run `python -m viamachinae.catalog.columns docs/outputs.md`"
    )


@pytest.mark.parametrize("schema", TABLES, ids=lambda s: s.name)
def test_every_column_has_a_row_of_four_cells(schema):
    section = outputs_page().split(f"\n## {schema.name}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(schema.names)
    assert all(row.replace("\\|", "").count("|") == 5 for row in rows)

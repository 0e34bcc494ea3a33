"""The tables of the documentation say how many parameters a template has."""

import re
from pathlib import Path

import pytest

from services.train_svc.engine.templates import describe, templates

DOCS = Path(__file__).resolve().parents[4] / "docs"
NAME = re.compile(r"`(\w+)`")
COUNT = re.compile(r"`([\w.-]+)` ([\d,]+)")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_template_stands_in_the_table_with_its_parameters(language: str) -> None:
    rows = [line.split("|")[1:4] for line in (DOCS / language / "architectures.md").read_text().splitlines()
            if line.startswith("| `")]  # fmt: skip
    assert {name for row in rows for name in NAME.findall(row[0])} == {each.name for each in templates()}
    for names, _, figure in rows:
        for size, count in COUNT.findall(figure):
            (name,) = NAME.findall(names)
            assert describe(name, size=size).root.parameter_count == int(count.replace(",", "")), name

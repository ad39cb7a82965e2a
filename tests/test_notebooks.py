"""The notebooks as they are kept: short, without outputs, and without anything of a machine. tests/e2e runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*"))


def test_all_are_there() -> None:
    assert [path.name for path in NOTEBOOKS] == [
        "compare_runs.ipynb",
        "explore_sessions.ipynb",
        "forecast_and_plan.ipynb",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_a_notebook_is_short_and_holds_no_outputs(path: Path) -> None:
    notebook: dict[str, Any] = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert notebook["metadata"]["language_info"] == {"name": "python"}, "no version of anybody's Python"
    assert 5 <= len(code) <= 10
    assert [(cell["outputs"], cell["execution_count"], cell["metadata"]) for cell in code] == [([], None, {})] * len(
        code
    )
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert not re.search(r"/(home|Users|tmp|work)/", path.read_text())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_logic_stays_in_the_package(path: Path) -> None:
    lines = [line for cell in json.loads(path.read_text())["cells"] for line in cell["source"]]
    assert [line for line in lines if re.match(r"\s*(def|class|while|try)\b", line)] == []

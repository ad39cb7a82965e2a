"""The notebooks run to their end after README's commands, and show what they promise."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

from tests.checkouts import PROJECT, Checkout
from tests.targets.machines.process import short_folder

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(1200)]


def executed(checkout: Checkout, name: str) -> dict[str, list[dict[str, Any]]]:
    """What each cell shows, by the cell's id; a cell that fails is an error here.

    The kernel is spoken to by sockets in a folder: of ports somebody else may take one before the kernel does.
    """
    folder = checkout.folder / "notebooks"
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    with short_folder("kernel") as sockets:
        NotebookClient(
            notebook,
            config=Config(KernelManager={"transport": "ipc", "ip": str(sockets / "kernel")}),
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            startup_timeout=300,
            timeout=600,
        ).execute(env=checkout.environment())
    return {cell["id"]: cell["outputs"] for cell in notebook.cells if cell["cell_type"] == "code"}


def text_of(outputs: list[dict[str, Any]]) -> str:
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def figures_of(outputs: list[dict[str, Any]]) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs)


def warnings_of(cells: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What will not work much longer. MLflow and tqdm say other things on standard error."""
    told = [output["text"] for outputs in cells.values() for output in outputs if output.get("name") == "stderr"]
    return [text for text in told if re.search(r"(Deprecation|Future|User|Runtime)Warning", text)]


def test_explore_sessions(travelled: Checkout) -> None:
    cells = executed(travelled, "explore_sessions")
    etl = [run for run in travelled.runs() if run.data.tags.get("workload_forecast.step") == "etl"][-1].data.metrics
    assert f"'servers': {etl['servers']:.0f}" in text_of(cells["setup"])
    assert "layout sessions16: session_start, session_end" in text_of(cells["raw-lines"])
    reasons = text_of(cells["quarantine-reasons"])
    assert f"{etl['rows_read']:,.0f} rows read, {etl['rows_used']:,.0f} used" in reasons
    assert "load_missing" in reasons
    assert all(name in text_of(cells["class-mix"]) for name in ("low", "medium", "high"))
    drawn = ("quarantine-reasons", "load-curves", "class-mix", "daily-cycle")
    assert [figures_of(cells[name]) for name in drawn] == [1] * 4
    assert warnings_of(cells) == []


def test_compare_runs(travelled: Checkout) -> None:
    cells = executed(travelled, "compare_runs")
    trained = [
        run
        for run in travelled.runs()
        if run.data.tags.get("workload_forecast.step") == "train"
        and run.info.status == "FINISHED"
        and "workload_forecast.reused_run" not in run.data.tags
    ]
    assert f"{len(trained)} trainings" in text_of(cells["setup"])
    assert "algorithm" in text_of(cells["parameters-side-by-side"])
    scores = text_of(cells["metrics-side-by-side"])
    assert f"{trained[-1].data.metrics['test_macro_f1']:.4f}".rstrip("0") in scores
    assert "1 searches" in text_of(cells["search-curve"])
    assert "champion" in text_of(cells["tags-and-versions"])
    assert [figures_of(cells[name]) for name in ("metrics-side-by-side", "search-curve", "by-server")] == [1] * 3
    assert warnings_of(cells) == []


def test_forecast_and_plan(travelled: Checkout) -> None:
    cells = executed(travelled, "forecast_and_plan")
    champion = travelled.client.get_model_version_by_alias("workload-forecast", "champion")
    forecast = [run for run in travelled.runs() if run.data.tags.get("workload_forecast.step") == "forecast"][-1]
    assert f"champion: version {champion.version}, forecast by version {champion.version}" in text_of(cells["setup"])
    assert "the same classes: True" in text_of(cells["ask-the-model"])
    saved = f"{forecast.data.metrics['machines_saved']:.0f} can be saved"
    assert saved in text_of(cells["plan-summary"])
    assert "keep" in text_of(cells["plan-summary"])
    assert [figures_of(cells[name]) for name in ("server-curve", "fleet-classes", "shared-machine")] == [1] * 3
    assert warnings_of(cells) == []


def test_without_any_runs_a_notebook_says_what_to_do(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "notebooks", tmp_path / "notebooks")
    elsewhere = Checkout(tmp_path, "")
    with pytest.raises(CellExecutionError, match=r"Run `make forecast` in the project's folder first"):
        executed(elsewhere, "compare_runs")

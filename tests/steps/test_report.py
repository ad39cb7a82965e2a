"""The report of a real forecast, kept with its run, and its way to the service."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.report.test_columns import loads, unpacked
from tests.report.test_page import Read, unzipped
from tests.serving.saved_pipelines import Node
from tests.steps.conftest import Project
from tests.steps.test_forecast import CUTS, HOUR, champion, forecast, hourly_load, settings, table_of
from tests.versions import always
from workload_forecast.service.exchange import Exchange
from workload_forecast.serving.compiled import read_compiled
from workload_forecast.steps.forecast_report import page_facts
from workload_forecast.steps.served_report import ReportSource
from workload_forecast.storage.local import write_info

__all__ = ["champion", "settings"]  # fixtures


def result_of(run: Run) -> Path:
    return Path(run.data.tags["workload_forecast.result"])


@dataclass
class Following:
    """A source of reports, and what it has said."""

    folder: Path
    model: str
    said: list[str] = field(default_factory=list)

    @property
    def exchange(self) -> Exchange:
        return Exchange(self.folder / "exchange")

    def look(self) -> str:
        """Look once; return the page that is served then."""
        ReportSource(self.exchange, self.model, self.folder / "outputs", self.said.append).look()
        note = self.exchange.report()
        return (self.exchange.folder / note.path).read_text(encoding="utf-8") if note else ""


@pytest.mark.usefixtures("settings")
def test_a_forecast_ends_with_its_report_which_comes_to_the_service(
    project: Project, champion: Callable[[Node], str]
) -> None:
    version = champion(always(2))
    run = forecast(project)
    text = (result_of(run) / "report.html").read_text(encoding="utf-8")
    assert f"report: {result_of(run) / 'report.html'}   open it in a browser" in project.say()
    logged = MlflowClient().download_artifacts(run.info.run_id, "report/report.html")
    assert Path(logged).read_text(encoding="utf-8") == text

    read, load = Read(text), hourly_load(project)
    page = unpacked(unzipped(read.scripts["data"]))
    assert page["servers"] == sorted({server for server, _ in load})
    assert (page["low"], page["high"], page["start"]) == (CUTS.low, CUTS.high, "2016-06-10T00:00:00Z")
    rows = table_of(run)
    for at, server in enumerate(page["servers"]):
        week = [load.get((server, datetime(2016, 6, 10) - n * HOUR), 0.0) for n in range(168, 0, -1)]
        near = 1e-3 * max(*week, *rows.filter(server=server)["expected_load"])
        assert loads(page, "history", at) == pytest.approx(week, abs=near)
        expected = rows.filter(server=server)["expected_load"].to_list()
        assert loads(page, "expected", at) == pytest.approx(expected, abs=near)
    assert {page["classNames"][code] for code in page["classes"]} == {"high"}
    for words in (f"{project.experiment} version {version}", "48 from 2016-06-10 00:00 UTC", "was idle"):
        assert words in read.text

    served = Following(project.folder, project.experiment)
    assert served.look() == text
    note = served.exchange.report()
    assert note is not None
    assert (note.version, note.origin, note.key) == (version, "2016-06-09T23", result_of(run).name)
    again = forecast(project)
    assert again.data.tags["workload_forecast.reused_run"] == run.info.run_id
    shutil.rmtree(result_of(run))
    shutil.rmtree(served.exchange.folder)
    assert served.look() == text, "of the run that made it, from its artifacts"
    assert len(served.said) == 2


def test_the_card_says_what_the_training_has_found(champion: Callable[[Node], str], tmp_path: Path) -> None:
    champion(always(0))
    facts = read_compiled(tmp_path / "model-0" / "compiled")[1]
    metrics = {"test_macro_f1": 0.71, "forecast_test_macro_f1": 0.73, "baseline_naive_test_macro_f1": 0.72}
    with mlflow.start_run(tags={"best_baseline": "naive"}) as run:
        mlflow.log_metrics({**metrics, "test_macro_f1_gain": -0.01})
        mlflow.log_params({"test_from": "2016-06-08T00:00:00", "test_to": "2016-06-09T23:59:59"})
    version: Any = SimpleNamespace(
        name="m", version="4", run_id=run.info.run_id, tags={"data": "synthetic", "subset": "sample"}
    )
    found = page_facts(version, facts)
    assert [found.test[0].said, found.test[0].model, found.test[0].naive] == [0.73, 0.71, 0.72]
    assert found.card["Tested on"] == "2016-06-08 00:00 to 2016-06-09 23:59"
    assert (found.card["Data"], found.card["Servers of the training"]) == ("synthetic", "sample")
    assert found.limits[0].startswith("The sessions are synthetic")
    assert found.limits[1].startswith("On its test period the model was not better")
    gone = page_facts(SimpleNamespace(name="m", version="4", run_id="0" * 32, tags={}), facts)  # type: ignore[arg-type]
    assert (gone.test, gone.card["Tested on"]) == ((), "not known")
    assert "synthetic" not in " ".join(gone.limits)


def forecast_run(folder: Path, model: str, name: str, origin: str, status: str = "FINISHED") -> None:
    """What a forecast leaves: its run and, in the results' home, its report, which holds the name."""
    result = folder / "outputs" / "forecast" / f"{model}-{name}"
    tags = {"step": "forecast", "key": result.name, "result": str(result), "origin": origin, "model_version": "1"}
    with mlflow.start_run(tags={f"workload_forecast.{key}": value for key, value in tags.items()}) as run:
        mlflow.log_param("model", model)
    MlflowClient().set_terminated(run.info.run_id, status)
    result.mkdir(parents=True)
    (result / "report.html").write_text(name)
    write_info(result, {"key": result.name})


def test_the_report_of_the_newest_origin_of_the_model_is_served(project: Project) -> None:
    served = Following(project.folder, project.experiment)
    assert served.look() == "", "that there is none is nothing wrong"

    def left(name: str, origin: str, **options: Any) -> str:
        forecast_run(project.folder, options.pop("model", project.experiment), name, origin, **options)
        return served.look()

    assert left("first", "2016-06-09T23") == "first"
    assert left("again", "2016-06-09T23") == "again"
    assert left("replay", "2016-06-06T11") == "again"
    assert left("failed", "2016-06-10T23", status="FAILED") == "again"
    assert left("another", "2016-06-10T23", model=f"{project.experiment}x") == "again"
    shutil.rmtree(project.folder / "outputs" / "forecast" / f"{project.experiment}-again")
    assert served.look() == "again", "what is served stays"
    assert left("newer", "2016-06-10T00") == "newer"
    (served.exchange.folder / "report.json").write_text("{")
    assert served.look() == "newer", "a note that is none is replaced"
    assert [line.rpartition(" after ")[2].partition(" ")[0] for line in served.said] == [
        "2016-06-09T23",
        "2016-06-09T23",
        "2016-06-10T00",
        "2016-06-10T00",
    ]

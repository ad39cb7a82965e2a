"""Promotions of fabricated versions on real tables: a version that is refused leaves the champion what it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.metrics import f1_score, recall_score

from tests.serving.saved_pipelines import HISTORY, Leaf, Node, Saved, Split, walk
from tests.versions import always, fitted, logged
from workload_forecast import __version__
from workload_forecast.cli import run
from workload_forecast.config import Thresholds
from workload_forecast.registry.gate import Agreement
from workload_forecast.registry.promotion import CHAMPION, DECISION, PREVIOUS, version_of
from workload_forecast.schemas import CALENDAR_FEATURES, CLASSES, FEATURE_NAMES
from workload_forecast.serving.scorer import Scorer
from workload_forecast.sessions.generator import GeneratorSettings, generate
from workload_forecast.steps import judging
from workload_forecast.steps.runs import Runs

FIRST, TEST, LAST = datetime(2016, 6, 1), datetime(2016, 6, 9), datetime(2016, 6, 12, 23, 59, 59)
TRAINED_TO = datetime(2016, 6, 7)
EXPERIMENT = "promotions"


@dataclass
class Place:
    """A project whose ETL is done, with the rows that versions are judged on."""

    folder: Path
    test: pd.DataFrame
    thresholds: Thresholds
    client: MlflowClient

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        cuts = [self.thresholds.low, self.thresholds.high]
        return np.searchsorted(cuts, self.test["total_load"].to_numpy(), side="left").astype(np.int64)

    def tree(self, depth: int) -> Node:
        """A tree that has seen the test rows: the deeper, the better."""
        rows = self.test[list(FEATURE_NAMES)].astype("float64").fillna(-1.0).to_numpy()
        return fitted(rows, self.labels, depth)

    def runs(self, step: str) -> list[Run]:
        found = mlflow.search_runs(
            experiment_names=[EXPERIMENT],
            filter_string=f"tags.`workload_forecast.step` = '{step}'",
            output_format="list",
            order_by=["start_time ASC"],
        )
        return list(found)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tracking_uri: str) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("promotions")
    generate(GeneratorSettings(FIRST.date(), LAST.date(), servers=3, sessions_per_server_hour=4), folder / "sessions")
    fields = {
        "dataFile": "sessions/*/*/*/*/request.csv*",
        "trainingFrom": str(FIRST),
        "testFrom": str(TEST),
        "to": str(LAST),
        "missingHours": "zero",
    }
    (folder / "settings.json").write_text(json.dumps(fields))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
        patch.setenv("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        patch.setenv("WORKLOAD_FORECAST_HOME", str(folder / "outputs"))
        patch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        mlflow.set_tracking_uri(tracking_uri)
        client = MlflowClient()
        client.create_experiment(EXPERIMENT, artifact_location=(folder / "artifacts").as_uri())
        assert run(["etl", "--config", "settings.json"]) == 0
        (path,) = folder.glob("outputs/etl/*/features")
        table = pd.read_parquet(path).sort_values(["server", "hour"], ignore_index=True)
        known = table[table["total_load"].notna()].astype({"year": "int64", "month": "int64"})
        low, high = known["total_load"].quantile([1 / 3, 2 / 3]).tolist()
        test = known[(known["hour"] >= TEST) & (known["hour"] <= LAST)].reset_index(drop=True)
        yield Place(folder, test, Thresholds(low, high), client)


def by_walking(_: object, model: Path, scorer: Scorer, rows: Any) -> Agreement:
    """Stands in for Spark: the trees that were saved, walked in plain Python."""
    saved: Saved = SAVED[json.loads((model / "tree.json").read_text())]
    answers = [walk(saved, row) for row in rows.to_pylist()]
    scores = scorer.score(rows)
    wrong = sum(CLASSES[int(label)] != name for label, (name, _) in zip(scores.labels, answers, strict=True))
    return Agreement(len(rows), wrong, float(np.abs(scores.probabilities - np.array([p for _, p in answers])).max()))


SAVED: list[Saved] = []


@dataclass
class Registry:
    """One registered model of its own for each test."""

    place: Place
    name: str
    folder: Path
    say: Callable[[], str]

    @property
    def client(self) -> MlflowClient:
        return self.place.client

    def add(self, tree: Node, thresholds: Thresholds | None = None, run_id: str | None = None, **more: Any) -> str:
        """Log and register a version; return its number."""
        folder = self.folder / str(len(SAVED))
        training_to = more.pop("training_to", TRAINED_TO)
        tags = more.pop("tags", {"data": "configured"})
        logged(folder, tree, thresholds or self.place.thresholds, training_to, **more)
        SAVED.append(Saved([tree], **(more.get("saved") or {})))
        (folder / "tree.json").write_text(str(len(SAVED) - 1))
        return str(self.client.create_model_version(self.name, str(folder), run_id, tags=tags).version)

    def files(self, version: str) -> Path:
        return Path(self.client.get_model_version(self.name, version).source or "")

    def promote(self, *arguments: str, config: str = "settings.json") -> int:
        return run(["promote", "--model", self.name, "--config", config, *arguments])

    def state(self) -> dict[str, Any]:
        """Everything that a promotion may change."""
        found = {alias: version_of(self.client, self.name, alias) for alias in (CHAMPION, PREVIOUS)}
        versions = self.client.search_model_versions(f"name='{self.name}'")
        return {
            **{alias: str(version.version) for alias, version in found.items() if version},
            "tags": {str(version.version): dict(version.tags) for version in versions},
            "stages": {str(version.version): version.current_stage for version in versions},
        }

    def decision(self, version: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.client.get_model_version(self.name, version).tags[DECISION])
        return content

    def checks(self) -> dict[str, dict[str, Any]]:
        """Of the last promotion."""
        last = self.place.runs("promote")[-1]
        content = json.loads(
            Path(self.client.download_artifacts(last.info.run_id, "promotion/checks.json")).read_text()
        )
        return {check["name"]: check for check in content["checks"]}


@pytest.fixture
def registry(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> Registry:
    monkeypatch.setattr(judging, "compare_forms", by_walking)
    engine = Runs.engine
    monkeypatch.setattr(Runs, "engine", lambda runs, name: None if name == "spark" else engine(runs, name))
    name = "model " + request.node.name.translate(str.maketrans("[]/:", "()--"))[:100]
    place.client.create_registered_model(name)
    return Registry(place, name, tmp_path, lambda: capsys.readouterr().err)


def test_the_first_good_version_becomes_the_champion(registry: Registry) -> None:
    version = registry.add(registry.place.tree(9))
    assert registry.promote("--why", "the first one") == 0
    state = registry.state()
    assert (state[CHAMPION], PREVIOUS in state, state["stages"][version]) == (version, False, "Production")

    place, decision = registry.place, registry.decision(version)
    said = Scorer.load(registry.files(version)).score(place.test[list(FEATURE_NAMES)]).labels
    expected = {
        "rows": len(place.test),
        "candidate_macro_f1": f1_score(place.labels, said, average="macro"),
        "candidate_recall_high": recall_score(place.labels, said, labels=[2], average=None)[0],
    }
    assert {name: decision["numbers"][name] for name in expected} == pytest.approx(expected)
    assert (decision["action"], decision["by"], decision["champion"]) == ("promoted", "ada", "")
    assert decision["why"].startswith("the first one: all ")
    last = place.runs("promote")[-1]
    assert (decision["run"], last.info.status) == (last.info.run_id, "FINISHED")
    assert last.data.metrics["candidate_macro_f1"] == pytest.approx(expected["candidate_macro_f1"])
    assert {"check", "macro-F1, naive", "passed"} <= set(
        registry.say().replace("  ", "\n").replace("\n ", "\n").split("\n")
    )
    results = {name: check["passed"] for name, check in registry.checks().items()}
    assert {name for name, passed in results.items() if passed is None} == {
        "macro-F1, champion",
        "recall of high, champion",
        "servers, champion",
    }
    assert all(passed is not False for passed in results.values())


def test_naive_forecasts_are_those_of_an_oracle(registry: Registry) -> None:
    registry.add(registry.place.tree(9))
    assert registry.promote("--dry-run", "true") == 0
    place, low, high = registry.place, registry.place.thresholds.low, registry.place.thresholds.high
    (path,) = place.folder.glob("outputs/etl/*/features")
    table = pd.read_parquet(path)
    before = table[(table["hour"] < TRAINED_TO) & table["total_load"].notna()]["total_load"]
    counts = [(before <= low).sum(), ((before > low) & (before <= high)).sum(), (before > high).sum()]
    best = 0.0
    for feature in ("", "total_load_lag_48h", "total_load_lag_168h", "total_load_same_hour_mean_7d"):
        said = []
        for value in place.test[feature] if feature else [None] * len(place.test):
            if value is None or np.isnan(value):
                said.append(counts.index(max(counts)))
            else:
                said.append(0 if value <= low else 1 if value <= high else 2)
        best = max(best, f1_score(place.labels, said, average="macro"))
    assert registry.checks()["macro-F1, naive"]["limit"] == pytest.approx(best)


def test_a_better_version_replaces_the_champion_and_a_rollback_brings_it_back(registry: Registry) -> None:
    first, second = registry.add(registry.place.tree(7)), registry.add(registry.place.tree(10))
    assert registry.promote("--version", first) == 0
    assert registry.promote() == 0
    assert registry.decision(second)["champion"] == first
    assert {"candidate_macro_f1", "champion_macro_f1"} <= set(registry.decision(second)["numbers"])

    for champion, previous, why in ((first, second, "wrong at night"), (second, first, "it was not the model")):
        assert run(["rollback", "--model", registry.name, "--why", why]) == 0
        state = registry.state()
        assert (state[CHAMPION], state[PREVIOUS]) == (champion, previous)
        assert (state["stages"][champion], state["stages"][previous]) == ("Production", "Archived")
        back, gone = registry.decision(champion), registry.decision(previous)
        assert [(d["action"], d["by"], d["why"]) for d in (back, gone)] == [
            ("rolled back", "ada", why),
            ("withdrawn", "ada", why),
        ]
        last = registry.place.runs("rollback")[-1]
        assert back["run"] == last.info.run_id
        assert [file.path for file in registry.client.list_artifacts(last.info.run_id, "promotion")] == [
            "promotion/decision.json"
        ]


def test_nothing_to_roll_back_to_is_one_line(registry: Registry) -> None:
    registry.add(registry.place.tree(9))
    assert registry.promote() == 0
    registry.say()
    assert run(["rollback", "--model", registry.name]) == 5
    assert registry.say().splitlines()[-1].startswith(f"error: {registry.name} has no previous champion")


@pytest.mark.parametrize(
    ("problem", "check"),
    [
        ("worse than naive", "macro-F1, naive"),
        ("worse than the champion", "macro-F1, champion"),
        ("saw the test rows", "unseen hours"),
        ("other classes", "classes"),
        ("other features", "schema"),
        ("trained on a sample", "all servers"),
        ("files gone", "loads"),
        ("trees cut", "loads"),
        ("MLmodel cut", "loads"),
        ("other answers than Spark", "compiled form"),
    ],
)
def test_what_is_wrong_refuses_a_version(
    registry: Registry, problem: str, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = registry.place
    champion = registry.add(place.tree(9))
    assert registry.promote() == 0
    cuts, tree = place.thresholds, place.tree(10)
    make: dict[str, Callable[[], str]] = {
        "worse than naive": lambda: registry.add(always(1)),
        "worse than the champion": lambda: registry.add(Split(len(CALENDAR_FEATURES), -2.0, always(0), place.tree(3))),
        "saw the test rows": lambda: registry.add(tree, training_to=LAST.replace(minute=0, second=0)),
        "trained on a sample": lambda: registry.add(tree, tags={"data": "configured", "subset": "sample-0.1"}),
        "other classes": lambda: registry.add(tree, Thresholds(cuts.low, cuts.high * 2)),
        "other features": lambda: registry.add(Leaf((1.0, 2.0, 3.0)), saved={"history": HISTORY[:-1]}),
    }
    version = make.get(problem, lambda: registry.add(tree))()
    if problem == "files gone":
        shutil.rmtree(registry.files(version))
    elif problem == "trees cut":
        (registry.files(version) / "compiled" / "trees.treelite").write_bytes(b"x")
    elif problem == "MLmodel cut":
        (registry.files(version) / "MLmodel").write_text("flavors: {")
    elif problem == "other answers than Spark":
        monkeypatch.setattr(judging, "compare_forms", lambda *_: Agreement(100, 0, 1e-6))
    before = registry.state()
    registry.say()

    assert registry.promote() == 6

    after, said = registry.state(), registry.say()
    decision = json.loads(after["tags"][version].pop(DECISION))
    assert after == before, "the champion is what it was"
    assert after[CHAMPION] == champion
    assert (decision["action"], decision["champion"]) == ("refused", champion)
    failed = [name for name, found in registry.checks().items() if found["passed"] is False]
    assert check in failed
    assert failed == [check] or check == "macro-F1, naive" or problem == "worse than the champion"
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith(f"error: {registry.name} version {version} is not promoted: ")
    last = registry.place.runs("promote")[-1]
    assert (last.info.status, last.data.tags["workload_forecast.decision"]) == ("FAILED", "refused")
    assert last.data.tags["workload_forecast.version"] == __version__, "of the package, as in every run"
    assert last.data.tags["workload_forecast.model_version"] == version
    assert said.count("is not promoted") == 1


@pytest.mark.parametrize("good", [True, False])
def test_a_dry_run_prints_the_checks_and_changes_nothing(registry: Registry, good: bool) -> None:
    registry.add(registry.place.tree(8))
    assert registry.promote() == 0
    registry.add(registry.place.tree(10) if good else always(0))
    before = registry.state()
    registry.say()
    assert registry.promote("--dry-run", "true") == 0
    assert registry.state() == before
    said = registry.say()
    assert "macro-F1, naive" in said
    assert ("would be promoted" if good else "would be refused") in said
    assert not [model for model in registry.client.search_registered_models() if model.name.endswith(".moving")]


def test_other_classes_are_promoted_without_a_comparison_if_the_settings_say_so(registry: Registry) -> None:
    cuts = registry.place.thresholds
    registry.add(registry.place.tree(9), Thresholds(cuts.low, cuts.high * 2), training_to=FIRST)
    registry.client.set_registered_model_alias(registry.name, CHAMPION, "1")
    registry.add(registry.place.tree(9))
    assert registry.promote() == 6
    fields = json.loads((registry.place.folder / "settings.json").read_text())
    path = registry.place.folder / "others.json"
    path.write_text(json.dumps({**fields, "promotion": {"allowOtherClasses": True}}))
    registry.say()
    assert registry.promote(config=str(path)) == 0
    assert "etl: reused run" in registry.say(), "limits are not the ETL's"
    check = registry.checks()["macro-F1, champion"]
    assert (check["passed"], check["explanation"]) == (None, "the champion's classes mean other loads")
    assert registry.state()[CHAMPION] == "2"


def old_version(registry: Registry, tree: Node, **params: object) -> str:
    """A version without a compiled form; its run tells what the parameters say, and all else that it should."""
    experiment = registry.client.get_experiment_by_name(EXPERIMENT).experiment_id  # type: ignore[union-attr]
    with mlflow.start_run(experiment_id=experiment) as etl:
        mlflow.log_params({"missing_hours": "zero"})
    with mlflow.start_run(experiment_id=experiment) as training:
        mlflow.log_params(params)
        mlflow.set_tag("workload_forecast.etl_run", etl.info.run_id)
        lines = [f"test,class_48h_ago,{name},1,1,1" for name in CLASSES]
        mlflow.log_text("\n".join(["split,predictor,true,low,medium,high", *lines]), "tables/confusion.csv")
    return registry.add(tree, run_id=training.info.run_id, compiled=False, tags={})


def facts(place: Place) -> dict[str, object]:
    return {
        "threshold_low": place.thresholds.low,
        "threshold_high": place.thresholds.high,
        "training_from": FIRST.isoformat(),
        "training_to": TRAINED_TO.isoformat(),
    }


def test_an_older_version_is_compiled_from_its_pipeline(registry: Registry) -> None:
    version = old_version(registry, registry.place.tree(9), **facts(registry.place))
    assert registry.promote() == 0
    assert registry.state()[CHAMPION] == version
    assert "compiled from its Spark pipeline" in registry.checks()["loads"]["explanation"]
    registry.add(registry.place.tree(10))
    assert registry.promote() == 0, "and it is compared with as a champion"
    assert registry.checks()["macro-F1, champion"]["passed"] is True


def test_an_older_version_that_cannot_be_understood_says_what_to_do(registry: Registry) -> None:
    version = old_version(registry, registry.place.tree(9))
    assert registry.promote() == 6
    assert "no compiled form" in registry.decision(version)["why"]
    assert "train again" in registry.decision(version)["why"]
    version = old_version(registry, registry.place.tree(9), **facts(registry.place))
    shutil.rmtree(registry.files(version) / "sparkml" / "stages")
    assert registry.promote() == 6
    assert "Traceback" not in registry.say()


def test_a_champion_without_files_is_not_passed_over(registry: Registry) -> None:
    champion = registry.add(registry.place.tree(9))
    assert registry.promote() == 0
    shutil.rmtree(registry.files(champion))
    registry.add(registry.place.tree(10))
    assert registry.promote() == 6
    assert "take the alias champion from that version" in registry.say()
    registry.client.delete_registered_model_alias(registry.name, CHAMPION)
    assert registry.promote() == 0


def test_the_champion_stays_and_gets_the_stage_that_a_broken_move_left_out(registry: Registry) -> None:
    registry.add(always(0))
    registry.client.set_registered_model_alias(registry.name, CHAMPION, "1")
    assert registry.promote() == 0
    assert registry.state()["stages"] == {"1": "Production"}
    assert "is the champion already" in registry.say()


def test_a_champion_that_comes_meanwhile_is_compared_with(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    best, good = registry.add(registry.place.tree(12)), registry.add(registry.place.tree(4))
    read = judging.Judge.judge
    seen: list[str | None] = []

    def overtaken(judge: judging.Judge, champion: Any) -> Any:
        verdict = read(judge, champion)
        if not seen:
            registry.client.set_registered_model_alias(registry.name, CHAMPION, best)
        seen.append(champion and str(champion.version))
        return verdict

    monkeypatch.setattr(judging.Judge, "judge", overtaken)
    assert registry.promote("--version", good) == 6
    assert seen == [None, best]
    assert registry.decision(good)["champion"] == best


def test_no_version_and_no_such_version_are_one_line_and_no_work(registry: Registry) -> None:
    assert registry.promote() == 5
    assert registry.say().splitlines()[-1].startswith(f"error: no version of {registry.name} is registered")
    registry.add(always(0))
    assert registry.promote("--version", "9") == 5
    assert "has no version 9: it has 1." in registry.say()


@pytest.mark.slow
def test_promotions_of_several_processes_leave_one_champion(registry: Registry) -> None:
    """Without the gate, which would put the work one after the other: the moves themselves."""
    versions = [registry.add(always(0)) for _ in range(3)]
    code = (
        "import sys; from mlflow import MlflowClient; from workload_forecast.errors import ModelError\n"
        "from workload_forecast.registry.promotion import *\n"
        "uri, name, version = sys.argv[1:]; client = MlflowClient(uri)\n"
        "for _ in range(30):\n"
        "    champion = version_of(client, name, CHAMPION)\n"
        "    now = str(champion.version) if champion else ''\n"
        "    try: promote(client, name, Decision('promoted', version, now, 'ada', 'better')); sys.exit(0)\n"
        "    except ModelError: pass\n"
        "sys.exit(1)\n"
    )

    def start(version: str) -> int:
        command = [sys.executable, "-c", code, os.environ["MLFLOW_TRACKING_URI"], registry.name, version]
        return subprocess.run(command, check=False, cwd=Path(__file__).parents[2], timeout=300).returncode

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(start, versions)) == [0, 0, 0]
    state = registry.state()
    assert {state[CHAMPION], state[PREVIOUS]} <= set(versions)
    assert state[CHAMPION] != state[PREVIOUS]
    assert [version for version, stage in state["stages"].items() if stage == "Production"] == [state[CHAMPION]]
    assert sorted(state["stages"].values()) == ["Archived", "Archived", "Production"]

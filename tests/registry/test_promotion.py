"""Aliases and stages, whoever moves them, and whenever it is broken off."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from workload_forecast.errors import ModelError
from workload_forecast.registry import promotion
from workload_forecast.registry.promotion import (
    CHAMPION,
    DECISION,
    PREVIOUS,
    Decision,
    OvertakenError,
    complete,
    find_version,
    moving,
    promote,
    read_decision,
    roll_back,
    version_of,
)

NAME = "workload-forecast"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    client = MlflowClient(f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}")
    client.search_experiments()
    return client


@pytest.fixture
def client(store: MlflowClient, tmp_path: Path) -> Iterator[MlflowClient]:
    """A registry with three versions, none of them promoted."""
    store.create_registered_model(NAME)
    for _ in range(3):
        store.create_model_version(NAME, str(tmp_path))
    yield store
    store.delete_registered_model(NAME)


def decision(version: int, champion: int | str = "") -> Decision:
    return Decision("promoted", str(version), str(champion), "ada", "better")


def state(client: MlflowClient) -> dict[str, Any]:
    """Aliases, and the stage of every version that has one."""
    aliases = {alias: version_of(client, NAME, alias) for alias in (CHAMPION, PREVIOUS)}
    stages = {str(v.version): v.current_stage for v in client.search_model_versions(f"name='{NAME}'")}
    return {
        **{alias: str(version.version) for alias, version in aliases.items() if version},
        **{version: stage for version, stage in stages.items() if stage != "None"},
    }


def test_the_first_champion(client: MlflowClient) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        promote(client, NAME, decision(2))
    assert state(client) == {CHAMPION: "2", "2": "Production"}
    kept = json.loads(client.get_model_version(NAME, "2").tags[DECISION])
    assert {name: kept[name] for name in ("action", "by", "why", "champion")} == {
        "action": "promoted",
        "by": "ada",
        "why": "better",
        "champion": "",
    }
    assert kept["at"].endswith("+00:00")


def test_the_champion_before_becomes_the_previous_one_and_comes_back(client: MlflowClient) -> None:
    promote(client, NAME, decision(1))
    promote(client, NAME, decision(3, 1))
    assert state(client) == {CHAMPION: "3", PREVIOUS: "1", "3": "Production", "1": "Archived"}
    done = roll_back(client, NAME, "bob", "wrong at night")
    assert (done.version, done.champion) == ("1", "3")
    assert state(client) == {CHAMPION: "1", PREVIOUS: "3", "1": "Production", "3": "Archived"}
    roll_back(client, NAME, "bob", "it was not the model")
    assert state(client)[CHAMPION] == "3"


def test_a_rollback_of_another_champion_than_was_meant_changes_nothing(client: MlflowClient) -> None:
    promote(client, NAME, decision(1))
    promote(client, NAME, decision(2, 1))
    before = state(client)
    with pytest.raises(OvertakenError, match="version 2 of workload-forecast has become the champion meanwhile"):
        roll_back(client, NAME, "bob", "", instead_of="1")
    assert state(client) == before
    assert roll_back(client, NAME, "bob", "", instead_of="2").version == "1"


def test_nothing_to_go_back_to(client: MlflowClient) -> None:
    with pytest.raises(ModelError, match="no previous champion"):
        roll_back(client, NAME, "bob", "")
    promote(client, NAME, decision(1))
    with pytest.raises(ModelError, match="no previous champion"):
        roll_back(client, NAME, "bob", "")
    assert state(client) == {CHAMPION: "1", "1": "Production"}


def test_a_comparison_with_somebody_who_is_no_champion_any_more_does_not_count(client: MlflowClient) -> None:
    promote(client, NAME, decision(1))
    promote(client, NAME, decision(2, 1))
    with pytest.raises(ModelError, match="version 2 of workload-forecast has become the champion since version 3"):
        promote(client, NAME, decision(3, 1))
    assert state(client)[CHAMPION] == "2"


@pytest.mark.parametrize("broken", ["set_registered_model_alias", "transition_model_version_stage"])
def test_a_move_that_is_broken_off_leaves_a_champion_and_is_completed_by_doing_it_again(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    promote(client, NAME, decision(1))
    real, calls = getattr(client, broken), []

    def once(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == (2 if broken == "set_registered_model_alias" else 1):
            raise MlflowException("the line broke")
        return real(*arguments, **options)

    monkeypatch.setattr(client, broken, once)
    with pytest.raises(MlflowException, match="the line broke"):
        promote(client, NAME, decision(2, 1))
    assert state(client)[CHAMPION] in {"1", "2"}
    promote(client, NAME, decision(2, 1))
    assert state(client) == {CHAMPION: "2", PREVIOUS: "1", "2": "Production", "1": "Archived"}


def test_registries_without_stages_have_aliases(client: MlflowClient) -> None:
    class WithoutStages:
        def __init__(self, inner: MlflowClient) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            if name == "transition_model_version_stage":
                raise AttributeError(name)
            return getattr(self.inner, name)

    promote(WithoutStages(client), NAME, decision(1))  # type: ignore[arg-type]
    assert state(client) == {CHAMPION: "1"}


def test_many_at_once_leave_one_champion_with_its_stage(client: MlflowClient) -> None:
    uri = client.tracking_uri

    def start(version: int) -> str:
        own = MlflowClient(uri)
        for _ in range(20):
            champion = version_of(own, NAME, CHAMPION)
            try:
                promote(own, NAME, decision(version, champion.version if champion else ""))
            except ModelError:
                continue
            return str(version)
        return ""

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(start, (1, 2, 3))) == ["1", "2", "3"]
    found = state(client)
    assert found[found[CHAMPION]] == "Production"
    assert found[PREVIOUS] != found[CHAMPION]
    assert sorted(found[version] for version in "123") == ["Archived", "Archived", "Production"]
    assert [model.name for model in client.search_registered_models()] == [NAME]


def test_a_lock_is_waited_for_and_a_dead_holder_is_not(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        moving(client, NAME),
        pytest.raises(ModelError, match=r"delete the registered model workload-forecast\.moving"),
        moving(client, NAME, patience_s=0.1),
    ):
        pass
    client.create_registered_model(f"{NAME}.moving")
    monkeypatch.setattr(promotion, "STALE_SECONDS", -1.0)
    promote(client, NAME, decision(1), patience_s=20)
    assert state(client)[CHAMPION] == "1"


def test_versions_are_found_by_number_or_the_newest(client: MlflowClient) -> None:
    assert str(find_version(client, NAME).version) == "3"
    assert str(find_version(client, NAME, "1").version) == "1"
    with pytest.raises(ModelError, match="no version 7: it has 1, 2, 3"):
        find_version(client, NAME, "7")
    with pytest.raises(ModelError, match="train one first"):
        find_version(client, "other")


def test_a_rollback_is_kept_with_both_versions(client: MlflowClient) -> None:
    promote(client, NAME, decision(1))
    promote(client, NAME, decision(2, 1))
    roll_back(client, NAME, "bob", "wrong at night", "a run")
    kept = {number: read_decision(client.get_model_version(NAME, number)) for number in "123"}
    assert kept["3"] is None
    assert [(d.action, d.champion, d.by, d.why, d.run) for d in (kept["1"], kept["2"]) if d] == [
        ("rolled back", "2", "bob", "wrong at night", "a run"),
        ("withdrawn", "2", "bob", "wrong at night", "a run"),
    ]


@pytest.mark.parametrize("text", ["{", "[]", '{"who": "ada"}', "1"])
def test_a_decision_of_another_form_is_still_one(client: MlflowClient, text: str) -> None:
    client.set_model_version_tag(NAME, "1", DECISION, text)
    found = read_decision(client.get_model_version(NAME, "1"))
    assert found is not None
    assert (found.action, found.version) == ("decided on", "1")


def test_a_broken_move_is_completed(client: MlflowClient) -> None:
    complete(client, NAME)
    assert state(client) == {}
    client.set_registered_model_alias(NAME, CHAMPION, "2")
    complete(client, NAME)
    assert state(client) == {CHAMPION: "2", "2": "Production"}


def test_a_lock_that_was_taken_over_is_left_to_its_new_holder(client: MlflowClient) -> None:
    with moving(client, NAME):
        client.delete_registered_model(f"{NAME}.moving")
        client.create_registered_model(f"{NAME}.moving", {"workload_forecast.holder": "somebody else"})
    assert client.get_registered_model(f"{NAME}.moving").tags["workload_forecast.holder"] == "somebody else"
    client.delete_registered_model(f"{NAME}.moving")

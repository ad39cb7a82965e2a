"""Who may do what: nobody without a login, users what is theirs, the administrator everything."""

from __future__ import annotations

import time

import mlflow
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.stack.conftest import User, make_user
from tests.stack.machines.tracking import ADMIN, Tracking

pytestmark = pytest.mark.stack

#: One of each kind: pages, both spellings of the interface, artifacts, users, the newer routes.
CLOSED = [
    "/",
    "/api/2.0/mlflow/experiments/search?max_results=1",
    "/ajax-api/2.0/mlflow/experiments/search?max_results=1",
    "/api/2.0/mlflow-artifacts/artifacts?path=",
    "/api/2.0/mlflow-artifacts/artifacts/0/x",
    "/api/2.0/mlflow/users/list",
    "/get-artifact?path=x&run_uuid=x",
    "/graphql",
    "/signup",
    "/version",
]


def ask(
    tracking: Tracking, path: str, login: tuple[str, str] | None = None, method: str = "GET", **more: object
) -> requests.Response:
    return requests.request(method, f"{tracking.uri}{path}", auth=login, timeout=30, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", CLOSED)
def test_nothing_answers_without_the_right_login(tracking: Tracking, path: str) -> None:
    for login in (None, (ADMIN, "a wrong password"), ("nobody", tracking.password), (ADMIN, "")):
        answer = ask(tracking, path, login)
        assert answer.status_code == 401, (path, login, answer.text[:200])
    assert ask(tracking, path, (ADMIN, tracking.password)).status_code != 401


def test_health_is_open_and_tells_nothing(tracking: Tracking) -> None:
    answer = ask(tracking, "/health")
    assert (answer.status_code, answer.text) == (200, "OK")


def test_other_names_of_the_host_and_other_sites_are_refused(tracking: Tracking) -> None:
    login = (ADMIN, tracking.password)
    path = "/ajax-api/2.0/mlflow/experiments/create"
    wrong_name = ask(tracking, "/", login, headers={"Host": "evil.example"})
    assert (wrong_name.status_code, "Invalid Host header" in wrong_name.text) == (403, True)
    other_site = ask(tracking, path, login, "POST", headers={"Origin": "https://evil.example"}, json={"name": "x"})
    assert other_site.status_code == 403


def client_of(user: User, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, user.environment[name])
    return MlflowClient(user.tracking.uri)


def test_users_read_what_others_own_and_write_what_is_theirs(
    tracking: Tracking, analyst: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_user(tracking, "other")
    owner = client_of(analyst, monkeypatch)
    experiment = owner.create_experiment("the analyst's")
    run = owner.create_run(experiment)
    owner.log_metric(run.info.run_id, "m", 1.0)
    owner.create_registered_model("the analyst's model")

    reader = client_of(other, monkeypatch)
    assert reader.get_run(run.info.run_id).data.metrics == {"m": 1.0}
    assert reader.get_registered_model("the analyst's model").name
    for forbidden in (
        lambda: reader.log_metric(run.info.run_id, "m", 2.0),
        lambda: reader.create_run(experiment),
        lambda: reader.delete_experiment(experiment),
        lambda: reader.delete_registered_model("the analyst's model"),
        lambda: reader.log_text(run.info.run_id, "x", "x.txt"),
    ):
        with pytest.raises((MlflowException, requests.HTTPError), match=r"Permission denied"):
            forbidden()

    grant = {"username": other.name, "resource_type": "experiment", "resource_id": experiment, "permission": "EDIT"}
    login = (analyst.name, analyst.password)
    ask(tracking, "/api/3.0/mlflow/users/permissions/grant", login, "POST", json=grant).raise_for_status()
    reader.log_metric(run.info.run_id, "m", 2.0)
    assert reader.get_run(run.info.run_id).data.metrics == {"m": 2.0}

    chief = client_of(User(tracking, ADMIN, tracking.password), monkeypatch)
    chief.delete_experiment(experiment)
    chief.restore_experiment(experiment)


def test_only_the_administrator_makes_and_changes_users(tracking: Tracking, analyst: User) -> None:
    login = (analyst.name, analyst.password)
    new = {"username": "friend", "password": "a long password"}
    assert ask(tracking, "/api/2.0/mlflow/users/create", login, "POST", json=new).status_code == 403
    rights = {"username": analyst.name, "is_admin": True}
    assert ask(tracking, "/api/2.0/mlflow/users/update-admin", login, "PATCH", json=rights).status_code == 403
    # their names are no secret to each other: a review is assigned by name
    assert ask(tracking, "/api/2.0/mlflow/users/list", login).status_code == 200
    assert "password" not in ask(tracking, "/api/2.0/mlflow/users/list", login).text.lower()
    short = {"username": "short", "password": "short"}
    answer = ask(tracking, "/api/2.0/mlflow/users/create", (ADMIN, tracking.password), "POST", json=short)
    assert answer.status_code == 400


def test_a_new_password_holds_and_the_old_one_soon_does_not(tracking: Tracking) -> None:
    """Workers remember for a while that a login was right, so that not every request pays for the check."""
    user = make_user(tracking, "forgetful")
    here, path = (user.name, user.password), "/api/2.0/mlflow/users/current"
    assert ask(tracking, path, here).status_code == 200
    change = {"username": user.name, "password": "another long one"}
    ask(tracking, "/api/2.0/mlflow/users/update-password", (ADMIN, tracking.password), "PATCH", json=change)
    assert ask(tracking, path, (user.name, "another long one")).status_code == 200
    end = time.monotonic() + 40
    while any(ask(tracking, path, here).status_code == 200 for _ in range(8)):
        assert time.monotonic() < end, "the old password is still taken"
        time.sleep(1)


def test_the_client_library_says_that_a_login_is_wrong(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(User(tracking, "nobody", "a wrong password"), monkeypatch)
    with pytest.raises(MlflowException, match=r"401|not authenticated"):
        client.search_experiments()
    assert mlflow.get_tracking_uri() != tracking.uri

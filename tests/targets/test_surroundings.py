"""What a job finds around it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from workload_forecast.errors import SettingsError
from workload_forecast.targets.contract import Launcher
from workload_forecast.targets.fields import Mount
from workload_forecast.targets.places import Places
from workload_forecast.targets.surroundings import declared, homes, mounts

PLACES = Places("/base", "")


def launcher(*, local: bool, contained: bool) -> Launcher:
    return cast(Launcher, SimpleNamespace(contained=contained, host=SimpleNamespace(local=local)))


def project(**docker_env: Any) -> Any:
    return SimpleNamespace(docker_env=docker_env or None)


def test_on_this_machine_results_are_at_home() -> None:
    assert homes(launcher(local=True, contained=True), PLACES, "/here/outputs") == ("/here/outputs", "/here/outputs")


def test_a_container_elsewhere_sees_the_launchers_home_under_its_own_path() -> None:
    elsewhere = launcher(local=False, contained=True)
    seen, source = homes(elsewhere, PLACES, "/here/outputs")
    assert seen == "/here/outputs"
    assert Path(source).parent == Path("/base/homes")
    assert homes(elsewhere, PLACES, "/there/outputs")[1] != source, "another home has another place"


def test_a_cluster_keeps_results_where_every_node_sees_them() -> None:
    cluster = launcher(local=False, contained=False)
    assert homes(cluster, PLACES, "/here") == ("/base/outputs", "/base/outputs")
    assert homes(cluster, Places("/base", "/shared"), "/here") == ("/shared/outputs", "/shared/outputs")


def test_a_store_that_is_a_file_is_mounted_with_its_artifacts(tmp_path: Path) -> None:
    found = mounts(
        launcher(local=True, contained=True),
        Places("/base", "/shared"),
        project(volumes=["/data:/data:ro", "relative:/there"]),
        [Mount(source="/sessions", target="/sessions")],
        tracking_uri=f"sqlite:///{tmp_path}/db/mlflow.db",
        artifact_uri=f"{tmp_path}/mlruns/1/abc/artifacts",
    )
    assert [(mount.source, mount.target, mount.read_only) for mount in found] == [
        ("/sessions", "/sessions", True),
        ("/data", "/data", True),
        (str(Path.cwd() / "relative"), "/there", False),
        (f"{tmp_path}/db", f"{tmp_path}/db", False),
        (f"{tmp_path}/mlruns/1", f"{tmp_path}/mlruns/1", False),
        ("/shared", "/shared", False),
    ]
    assert (tmp_path / "mlruns" / "1").is_dir(), "the mount needs it"


@pytest.mark.parametrize(("local", "contained"), [(False, True), (True, False), (False, False)])
def test_elsewhere_no_file_of_this_machine_is_mounted(tmp_path: Path, local: bool, contained: bool) -> None:
    where = launcher(local=local, contained=contained)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert mounts(where, PLACES, project(), [], tracking_uri=uri, artifact_uri=f"{tmp_path}/a/b/c") == []


def test_variables_of_the_project_are_given_or_copied() -> None:
    wanted = project(environment=[["COLOUR", "red"], "KEY"])
    assert declared(wanted, {"KEY": "k", "OTHER": "o"}) == {"COLOUR": "red", "KEY": "k"}
    assert declared(project(), {}) == {}
    with pytest.raises(SettingsError, match="copies the variable KEY, which is not set here: export it"):
        declared(wanted, {})

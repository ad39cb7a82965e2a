"""Docker on this machine, and behind ssh."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import ExecutionException

from tests.targets.bench import Bench, write_project
from tests.targets.conformance import TargetConformance
from tests.targets.machines.docker import DockerEngine
from tests.targets.machines.ssh import SshServer
from workload_forecast.targets.inspect import show_target
from workload_forecast.targets.sweep import sweep_runs

pytestmark = pytest.mark.targets


class _Docker(TargetConformance):
    def destroy(self, bench: Bench, run_id: str) -> None:
        handle = json.loads(bench.run(run_id).data.tags["workload_forecast.job"])["handle"]
        bench.launcher.host.run(["docker", "rm", "--force", handle["container"]])

    def test_show_tells_of_the_engine(self, bench: Bench) -> None:
        shown = dict(show_target(bench.launcher.target))
        assert shown["reachable"] == "yes"
        assert shown["engine"].startswith("Docker ")
        assert int(shown["cores"]) == os.cpu_count()

    def test_the_container_runs_as_the_user_of_its_machine(self, bench: Bench) -> None:
        run_id = bench.submit().run_id
        expected = int(bench.launcher.host.run(["id", "-u"]).output)
        assert bench.told(run_id)["uid"] == expected

    def test_results_come_home_and_belong_to_the_caller(self, bench: Bench) -> None:
        run_id = bench.submit().run_id
        result = bench.home / "probe" / "key" / run_id
        assert result.read_text() == "a result"
        assert result.stat().st_uid == os.getuid()

    def test_mounts_and_shared_directory(self, bench: Bench, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        shared = "~/a shared folder" if bench.launcher.target.remote else str(tmp_path / "a shared folder")
        bench.write_target(**bench.fields, sharedDirectory=shared)
        variables = bench.told(bench.submit().run_id)["variables"]
        assert variables["WORKLOAD_FORECAST_SHARED"].endswith("/a shared folder")

    def test_more_processors_than_there_are_is_refused(self, bench: Bench) -> None:
        with pytest.raises(ExecutionException, match=r"cpus: 4096\.0 asked for"):
            bench.submit(cpus=4096.0)

    def test_a_gpu_that_is_not_there_is_refused(self, bench: Bench) -> None:
        with pytest.raises(ExecutionException, match="gpu: no nvidia runtime; install nvidia-container-toolkit"):
            bench.submit(gpu="all")

    def test_a_missing_dockerfile_is_named(self, bench: Bench) -> None:
        bench.write_target(**bench.fields, dockerfile="docker/Nowhere")
        with pytest.raises(ExecutionException, match="Dockerfile: docker/Nowhere"):
            bench.submit()

    def test_an_image_that_cannot_be_built_fails_the_run_with_the_builders_words(self, bench: Bench) -> None:
        (bench.project / "docker" / "Dockerfile").write_text(
            "ARG BASE_IMAGE=python:3.11-slim-bookworm\nFROM ${BASE_IMAGE}\nRUN echo no such luck && exit 5\n"
        )
        with pytest.raises(ExecutionException, match="the image could not be made"):
            bench.submit()
        run = bench.last_run()
        assert run.info.status == "FAILED"
        assert "returned a non-zero code: 5" in run.data.tags["workload_forecast.exit_reason"]

    def test_an_engine_that_is_down_is_said_before_the_launch(self, bench: Bench, engine: DockerEngine) -> None:
        engine.stop()
        try:
            with pytest.raises(ExecutionException, match=r"nothing was launched\. engine: Docker does not answer"):
                bench.submit()
        finally:
            engine.start()

    def test_a_launcher_that_dies_before_the_start_leaves_no_run_for_ever(self, bench: Bench) -> None:
        dockerfile = f"FROM python:3.11-slim-bookworm\nRUN echo {time.time_ns()} && sleep 20\n"
        (bench.project / "docker" / "Dockerfile").write_text(dockerfile)
        launcher = bench.start_command()
        assert launcher.stdout is not None
        assert any(b"environment: docker build" in line for line in launcher.stdout)
        run_id = bench.last_run().info.run_id
        assert f"{run_id}  RUNNING" in "\n".join(sweep_runs(give_up=False)), "the launcher lives"
        launcher.kill()
        launcher.wait()
        assert f"{run_id}  FAILED  the launcher ended" in "\n".join(sweep_runs(give_up=False))
        assert bench.run(run_id).info.status == "FAILED"

    def test_a_project_with_an_image_of_its_own(self, bench: Bench) -> None:
        """MLflow's ``docker_env`` in MLproject: its image is taken as it is."""
        text = (bench.project / "MLproject").read_text()
        (bench.project / "MLproject").write_text(f"{text}docker_env:\n  image: python:3.11-slim-bookworm\n")
        run_id = bench.submit({"text": "own image"}).run_id
        assert bench.told(run_id)["text"] == "own image"
        assert bench.run(run_id).data.tags["workload_forecast.environment"] == "python:3.11-slim-bookworm"


class TestDocker(_Docker):
    @pytest.fixture
    def bench(self, docker_bench: Bench) -> Bench:
        return docker_bench

    def test_the_command_fails_with_the_job(self, bench: Bench) -> None:
        launcher = bench.start_command("-P", "code=9", "--run-name", "fails")
        output = launcher.communicate(timeout=300)[0].decode()
        assert launcher.returncode == 1
        assert "Traceback" not in output
        assert "exit code 9" in output
        assert bench.last_run().info.run_name == "fails"

    def test_a_job_beyond_its_memory_is_told_from_a_killed_one(self, bench: Bench) -> None:
        (bench.project / "probe.py").write_text("print(len(b'x' * 500_000_000))\n")
        with pytest.raises(ExecutionException, match="failed"):
            bench.submit(memory="60m")
        assert bench.last_run().data.tags["workload_forecast.exit_code"] == "137"
        assert bench.last_run().data.tags["workload_forecast.exit_reason"].startswith("out of memory")

    def test_the_image_serves_mlflows_own_docker_env(self, bench: Bench, tmp_path: Path) -> None:
        """In a folder with a plain name: MLflow's own backend does not quote paths."""
        image = bench.run(bench.submit().run_id).data.tags["workload_forecast.environment"]
        variables = '[["WORKLOAD_FORECAST_HOME", "/tmp/results"]]'
        plain = write_project(tmp_path / "plain")
        bench.client.create_experiment("plain", artifact_location=str(tmp_path / "artifacts"))
        with (plain / "MLproject").open("a") as project:
            project.write(f"docker_env:\n  image: {image}\n  environment: {variables}\n")
        done = mlflow.projects.run(
            str(plain),
            backend="local",
            build_image=True,
            docker_args={"network": "host"},
            experiment_name="plain",
        )
        assert bench.run(done.run_id).info.status == "FINISHED"


class TestRemoteDocker(_Docker):
    @pytest.fixture
    def bench(self, remote_docker_bench: Bench) -> Bench:
        return remote_docker_bench

    def test_a_wrong_key_is_one_clear_line(self, bench: Bench, ssh: SshServer) -> None:
        bench.write_target(**{**bench.fields, "address": ssh.wrong_key_alias})
        with pytest.raises(ExecutionException, match=r"cannot be reached .*the key was not accepted"):
            bench.submit()

    def test_through_a_jump_host(self, bench: Bench, ssh: SshServer, tmp_path: Path) -> None:
        """The same machine, reached from itself: commands, rsync and tunnel all take the detour."""
        config = tmp_path / "ssh_config"  # ssh does not quote the path when it starts itself for the jump
        config.write_text(
            f"Include {ssh.config_file}\n"
            f"Host behind\n  HostName {ssh.host}\n  Port {ssh.port}\n  User {ssh.user}\n  ProxyJump {ssh.alias}\n"
            f"  IdentityFile {ssh.identity_file}\n  UserKnownHostsFile {ssh.known_hosts}\n"
        )
        bench.write_target(**{**bench.fields, "address": "behind", "sshConfig": str(config)})
        run_id = bench.submit({"text": "from behind"}).run_id
        assert bench.told(run_id)["text"] == "from behind"
        assert bench.run(run_id).data.metrics["reached"] == 1

    def test_a_sqlite_store_is_refused_with_the_remedy(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        local = Bench(bench.type, bench.fields, bench.project, f"sqlite:///{tmp_path / 'mlflow.db'}", monkeypatch)
        with pytest.raises(ExecutionException, match=r"tracking store: .*cannot see; start a server .*mlflow server"):
            local.submit()

    def test_a_lost_connection_is_made_anew(self, bench: Bench, ssh: SshServer) -> None:
        run = bench.submit({"seconds": "12"}, wait=False)
        bench.wait_for_tick(run.run_id)
        ssh.stop()
        ssh.start()
        assert run.wait()
        assert "the end" in bench.console(run.run_id)

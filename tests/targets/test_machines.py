"""The machines of the target tests do what the suite counts on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.targets.machines.docker import DockerEngine
from tests.targets.machines.packages import elsewhere, pip_conf
from tests.targets.machines.process import INSTALL, MachineError, fetch, require, short_folder
from tests.targets.machines.ssh import SshServer
from tests.targets.machines.tracking import TrackingServer

pytestmark = [pytest.mark.targets]

# what the engine of the suite has from its start
IMAGE = "python:3.11-slim-bookworm"


class TestDocker:
    def test_a_container_runs_python_as_another_user(self, engine: DockerEngine) -> None:
        program = "import os, sys; print(os.getuid(), *sys.version_info[:2])"
        done = engine.docker("run", "--rm", "--user", "1234:1234", IMAGE, "python", "-c", program)
        assert done.stdout == "1234 3 11\n"

    def test_pip_installs_during_a_build(self, engine: DockerEngine, tmp_path: Path) -> None:
        (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN pip install --no-cache-dir six\n")
        engine.docker("build", "--network", "host", "--tag", "with-six", str(tmp_path))
        done = engine.docker("run", "--rm", "with-six", "python", "-c", "import six; print(six.__name__)")
        assert done.stdout == "six\n"

    def test_limits_hold(self, engine: DockerEngine) -> None:
        hungry = "x = bytearray(300 * 1024 * 1024); print(len(x))"
        command = ["run", "--rm", "--memory", "100m", "--memory-swap", "100m", IMAGE, "python", "-c", hungry]
        assert engine.docker(*command, check=False).returncode == 137

    def test_images_survive_a_stop(self, engine: DockerEngine) -> None:
        engine.stop()
        assert engine.docker("version", check=False).returncode != 0
        engine.start()
        assert IMAGE in engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.splitlines()


class TestSsh:
    def test_the_right_key_is_let_in(self, ssh: SshServer) -> None:
        done = ssh.ssh("id --user --name; pwd; java -version; rsync --version; python3 -c 'import ensurepip, venv'")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[:2] == [ssh.user, str(ssh.home)]
        assert 'version "17.' in done.stderr

    def test_the_wrong_key_is_refused(self, ssh: SshServer) -> None:
        done = ssh.ssh("true", ssh.wrong_key_alias)
        assert done.returncode == 255
        assert "Permission denied (publickey)" in done.stderr

    def test_the_user_cannot_read_what_is_roots(self, ssh: SshServer) -> None:
        assert ssh.ssh("ls /root").returncode != 0

    def test_pip_installs_there(self, ssh: SshServer) -> None:
        done = ssh.ssh(
            "python3 -m venv with-six && with-six/bin/pip install -q six && with-six/bin/python -c 'import six'"
        )
        assert done.returncode == 0, done.stderr

    def test_the_user_talks_to_the_engine(self, ssh: SshServer, engine: DockerEngine) -> None:
        ask = ["version", "--format", "{{.Server.Version}}"]
        expected = engine.docker(*ask).stdout
        assert ssh.ssh("docker version --format '{{.Server.Version}}'").stdout == expected
        environment = {**ssh.client_environment(), "DOCKER_HOST": f"ssh://{ssh.alias}"}
        over_ssh = subprocess.run(["docker", *ask], env=environment, capture_output=True, text=True, check=True)
        assert over_ssh.stdout == expected

    def test_rsync_goes_through_it(self, ssh: SshServer, tmp_path: Path) -> None:
        (tmp_path / "a file").write_text("ünïcode")
        command = ["rsync", "-a", f"{tmp_path}/", f"{ssh.alias}:synchronised/"]
        subprocess.run(command, env=ssh.client_environment(), check=True)
        assert (ssh.home / "synchronised" / "a file").read_text() == "ünïcode"

    def test_a_dropped_connection_leaves_what_runs_there(self, ssh: SshServer) -> None:
        client = self._sleeper(ssh)
        ssh.drop_connections()
        assert client.wait(30) == 255
        assert ssh.run(["pgrep", "--exact", "sleep"], check=False).returncode == 0
        assert ssh.ssh("pkill -x sleep").returncode == 0

    def test_a_stopped_server_is_gone_until_it_starts_again(self, ssh: SshServer) -> None:
        client = self._sleeper(ssh)
        ssh.stop()
        assert client.wait(30) == 255
        assert "Connection refused" in ssh.ssh("true").stderr
        ssh.start()
        assert ssh.ssh("pkill -x sleep").returncode == 0

    @staticmethod
    def _sleeper(ssh: SshServer) -> subprocess.Popen[bytes]:
        client = subprocess.Popen(["ssh", "-F", str(ssh.config_file), ssh.alias, "echo on; sleep 600"], stdout=-1)
        assert client.stdout is not None
        assert client.stdout.readline() == b"on\n"
        return client


class TestTracking:
    def test_what_it_holds_survives_a_stop(self, tracking: TrackingServer, tmp_path: Path) -> None:
        client = MlflowClient(tracking.uri)
        run = client.create_run(client.create_experiment("machines")).info.run_id
        client.log_metric(run, "answer", 42)
        client.log_text(run, "kept", "note.txt")
        tracking.stop()
        assert fetch(f"{tracking.uri}/health") is None
        tracking.start()
        assert client.get_run(run).data.metrics == {"answer": 42}
        assert Path(client.download_artifacts(run, "note.txt", str(tmp_path))).read_text() == "kept"


class TestInstallation:
    def test_a_missing_command_names_the_remedy(self) -> None:
        with pytest.raises(MachineError, match=r"Not installed: no-such-command\. Run `.*install\.sh` as root"):
            require("sshd", "no-such-command")

    def test_a_second_installation_does_nothing(self) -> None:
        done = subprocess.run([INSTALL], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == "target tests: everything is installed\n"

    def test_a_container_is_told_of_no_local_index(self) -> None:
        here = {
            "index-url": "https://index.invalid/simple",
            "extra-index-url": "file:///srv/index https://more.invalid/simple",
            "find-links": "/srv/wheels",
            "cert": "/srv/ca.crt",
            "default-timeout": "60",
        }
        assert pip_conf(elsewhere(here, "/etc/ca.crt")) == (
            "[global]\ndefault-timeout = 60\nindex-url = https://index.invalid/simple\n"
            "extra-index-url = https://more.invalid/simple\ncert = /etc/ca.crt\n"
        )


def test_a_folder_whose_suite_was_killed_is_removed_by_the_next_one() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = Path(f"/tmp/wf-test-{ended.pid}-left")
    left.mkdir()
    with short_folder("test") as folder:
        assert not left.exists()
        with short_folder("test"):
            assert folder.exists(), "that of a suite that runs stays"
    assert not folder.exists()

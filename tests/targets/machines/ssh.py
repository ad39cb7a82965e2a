"""An SSH server of the tests' own on the loopback, with a user and keys that exist as long as it does."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.targets.machines.packages import CA_VARIABLES, ca_bundle, pip_conf, pip_settings, proxies
from tests.targets.machines.process import (
    MachineError,
    Server,
    check,
    descendants,
    free_port,
    kill,
    listens,
    processes,
    require,
    which,
)

ALIAS = "wf-test"
WRONG_KEY_ALIAS = "wf-test-wrong-key"
_users = count()


@dataclass(frozen=True)
class SshServer:
    """A running server, and what a client needs to use it.

    Attributes:
        alias: the server's name in ``config_file``.
        wrong_key_alias: the same server there, with a key that it does not know.
        home: the user's folder, owned by the user.
        identity_file: a private key that the server takes.
        wrong_identity_file: one that it refuses.
        known_hosts: holds the server's key.
        config_file: for ``ssh -F``.
        client_folder: holds an ``ssh`` that reads ``config_file``; see :meth:`client_environment`.
        server: the process.
    """

    alias: str
    wrong_key_alias: str
    host: str
    port: int
    user: str
    home: Path
    identity_file: Path
    wrong_identity_file: Path
    known_hosts: Path
    config_file: Path
    client_folder: Path
    server: Server

    def client_environment(self) -> dict[str, str]:
        """This process's environment with an ``ssh`` that knows the aliases.

        For programs that start ``ssh`` themselves, such as ``docker`` and ``rsync``: ssh does not look for its
        configuration in ``$HOME``, so they could not be told otherwise.
        """
        return {**os.environ, "PATH": f"{self.client_folder}{os.pathsep}{os.environ['PATH']}"}

    def run(self, argv: Sequence[str], check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as the user, without SSH: for the setting up and the checks of tests."""
        identity = ["setpriv", "--reuid", self.user, "--regid", self.user, "--init-groups"]
        return subprocess.run(
            [*identity, *argv],
            env=self._login_environment(),
            cwd=self.home,
            capture_output=True,
            text=True,
            check=check,
            timeout=600,
        )

    def ssh(self, command: str, alias: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a line of shell over SSH, with the right key unless another alias is named."""
        return subprocess.run(
            ["ssh", "-F", str(self.config_file), "-o", "BatchMode=yes", alias or self.alias, command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def stop(self) -> None:
        """Close the port and every connection. What the user runs there goes on, as it does when a network fails."""
        sessions = self._sessions()
        self.server.crash(children=False)
        kill(*sessions)

    def start(self) -> None:
        """Listen again on the same port, with the same keys."""
        self.server.start()

    def drop_connections(self) -> None:
        """Cut every connection while the server goes on listening."""
        kill(*self._sessions())

    def processes(self) -> list[int]:
        """The process ids of whatever the user runs."""
        uid = pwd.getpwnam(self.user).pw_uid
        return [entry.pid for entry in processes() if entry.uid == uid]

    def _sessions(self) -> list[int]:
        if not self.server.running:
            return []
        return [entry.pid for entry in descendants(self.server.pid) if entry.name == "sshd"]

    def _login_environment(self) -> dict[str, str]:
        lines = (self.home / ".ssh" / "environment").read_text().splitlines()
        told = dict(line.split("=", 1) for line in lines)
        return {"HOME": str(self.home), "USER": self.user, "LOGNAME": self.user, "SHELL": "/bin/bash", **told}


@contextmanager
def ssh_server(
    folder: Path, groups: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[SshServer]:
    """Run a server until the block ends, then end whatever its user still runs and remove the user.

    Args:
        folder: where its files and the user's home go; every user can enter it (``short_folder``).
        groups: further groups of the user, such as the container engine's.
        environment: further variables of every login, such as ``DOCKER_HOST``.

    Raises:
        MachineError: not root, nothing installed, or the server does not start; with the end of its log.
    """
    require("sshd", "ssh", "ssh-keygen", "useradd", "userdel", "setpriv", "rsync", "java", "/usr/bin/python3")
    user, home = _add_user(folder, groups)
    try:
        ssh = _configure(folder, user, home, environment or {})
        ssh.server.start()
        try:
            yield ssh
        finally:
            ssh.stop()
            while remaining := ssh.processes():
                kill(*remaining)
    finally:
        check(["userdel", user])
        shutil.rmtree(Path("/tmp") / f"hsperfdata_{user}", ignore_errors=True)  # Java's


def _add_user(folder: Path, groups: Sequence[str]) -> tuple[str, Path]:
    user, home = f"wf-test-{os.getpid()}-{next(_users)}", folder / "home"
    # `*` is no password's hash but, unlike `!`, does not lock the account, which would shut out keys as well
    options = ["--no-log-init", "--create-home", "--home-dir", str(home), "--shell", "/bin/bash", "--password", "*"]
    check(["useradd", *options, *(["--groups", ",".join(groups)] if groups else []), user])
    return user, home


def _configure(folder: Path, user: str, home: Path, environment: Mapping[str, str]) -> SshServer:
    port = free_port()
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    for name in ("host", "right", "wrong"):
        check(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(keys / name)])
    known_hosts, config = folder / "known_hosts", folder / "ssh_config"
    known_hosts.write_text(f"[127.0.0.1]:{port} {(keys / 'host.pub').read_text()}")
    config.write_text(
        _client_config(ALIAS, port, user, keys / "right", known_hosts)
        + _client_config(WRONG_KEY_ALIAS, port, user, keys / "wrong", known_hosts)
    )
    _write_home(home, user, (keys / "right.pub").read_text(), _variables(environment))
    return SshServer(
        alias=ALIAS,
        wrong_key_alias=WRONG_KEY_ALIAS,
        host="127.0.0.1",
        port=port,
        user=user,
        home=home,
        identity_file=keys / "right",
        wrong_identity_file=keys / "wrong",
        known_hosts=known_hosts,
        config_file=config,
        client_folder=_client_folder(folder, config),
        server=_server(folder, port, keys / "host", user),
    )


def _client_config(alias: str, port: int, user: str, key: Path, known_hosts: Path) -> str:
    options = {
        "HostName": "127.0.0.1",
        "Port": port,
        "User": user,
        "IdentityFile": key,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
    }
    return "\n".join([f"Host {alias}", *(f"  {name} {value}" for name, value in options.items()), "", ""])


def _client_folder(folder: Path, config: Path) -> Path:
    client = folder / "bin"
    client.mkdir()
    program = client / "ssh"
    program.write_text(f'#!/bin/sh\nexec {which("ssh")} -F {config} "$@"\n')
    program.chmod(0o755)
    return client


def _variables(further: Mapping[str, str]) -> dict[str, str]:
    """What every login of the user finds set: where packages are trusted and fetched, and what the caller adds."""
    bundle = str(ca_bundle())
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **dict.fromkeys(CA_VARIABLES, bundle),
        **proxies(),
        **further,
    }


def _write_home(home: Path, user: str, public_key: str, variables: Mapping[str, str]) -> None:
    ssh, pip = home / ".ssh", home / ".config" / "pip"
    ssh.mkdir(mode=0o700)
    pip.mkdir(parents=True)
    (ssh / "authorized_keys").write_text(public_key)
    (ssh / "environment").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    (pip / "pip.conf").write_text(pip_conf({**pip_settings(), "cert": str(ca_bundle())}))
    check(["chown", "--recursive", f"{user}:", str(home)])


def _server(folder: Path, port: int, host_key: Path, user: str) -> Server:
    # sshd insists on this folder when it drops its rights, and systemd, which makes it, may not be here
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": host_key,
        "PidFile": folder / "sshd.pid",
        "AllowUsers": user,
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "UsePAM": "no",
        "PermitUserEnvironment": "yes",
        "AllowTcpForwarding": "yes",
        "PrintMotd": "no",
        "Subsystem": "sftp internal-sftp",
    }
    config, log = folder / "sshd_config", folder / "sshd.log"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    sshd = which("sshd")
    if sshd is None:
        raise MachineError("sshd has gone from this machine")
    return Server("sshd", [sshd, "-D", "-e", "-f", str(config)], log, lambda: listens(port))

"""Commands and files on this machine, and what would be sent to another one; no connection is made."""

from __future__ import annotations

import getopt
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.targets.hosts import Completed, LocalHost, SshHost, checked, script, told, unreachable

HERE = LocalHost()
#: Of ssh's manual: its options, those with a value followed by a colon.
SSH_OPTIONS = "46AaB:b:CcD:E:e:F:fGgI:i:J:KkL:l:MmNnO:o:P:p:Q:qR:S:sTtVvW:w:XxYy"
NAMES = ["plain", "two words", "line\nbreak", "ünïcödé ☂", "-dash", "quo'te\"d", "$HOME `id` *", "deep/er/file"]
ARGUMENTS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12), max_size=5)

Install = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def own_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared connections have their folder here, not in the one of this machine's user."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a bash script in the place of a command; it keeps arguments and standard input in files of its name."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    def write(name: str, text: str) -> None:
        command = tmp_path / "bin" / name
        keep = f"printf '%s\\0' \"$@\" >{tmp_path}/{name}.arguments\n"
        command.write_text(f"#!/bin/bash\n{keep}{text}\n")
        command.chmod(0o755)

    return write


def arguments(folder: Path, command: str) -> list[str]:
    return (folder / f"{command}.arguments").read_text().split("\0")[:-1]


def options_of(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Read a command line as ssh does."""
    assert argv[0] == "ssh"
    return getopt.getopt(argv[1:], SSH_OPTIONS)


# --- commands --------------------------------------------------------------------------------------------------------


def test_what_a_command_says_and_how_it_ends() -> None:
    done = HERE.run(["bash", "-c", "cat; echo one >&2; echo two >&2; exit 7"], given="gegeben ü\0".encode())
    assert (done.code, done.raw, done.error) == (7, "gegeben ü\0".encode(), "one\ntwo\n")
    assert (done.output, done.last_line) == ("gegeben ü\0", "two")


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (Completed(3, b"", ""), "exit code 3"),
        (Completed(3, b"", " \n"), "exit code 3"),
        (Completed(3, b"first\nsecond\n\n", ""), "second"),
        (Completed(3, b"output\n", "complaint\nreason\n"), "reason"),
        (Completed(3, b"\xff", ""), "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_last_line(done: Completed, expected: str) -> None:
    assert done.last_line == expected


def test_a_command_that_failed_is_an_error_that_says_what_and_where() -> None:
    assert checked(Completed(0, b"fine\n", "a warning"), "looking", "box") == "fine\n"
    with pytest.raises(EnvironmentProblem, match=r"^looking failed on box \(exit code 2\): no such thing$"):
        checked(Completed(2, b"", "oh\nno such thing\n"), "looking", "box")


def test_a_missing_command_is_named() -> None:
    with pytest.raises(EnvironmentProblem, match="command 'no-such-command' is missing on this machine: install it"):
        HERE.run(["no-such-command", "x"])


def test_a_command_that_does_not_end_is_not_waited_for_nor_is_what_it_started() -> None:
    with pytest.raises(EnvironmentProblem, match="this machine did not answer within 0 s: check its load"):
        HERE.run(["bash", "-c", "sleep 4; true"], seconds=0.3)


def test_exit_code_255_means_a_lost_connection_only_behind_ssh(install: Install) -> None:
    assert HERE.run(["bash", "-c", "exit 255"]).code == 255
    assert told(HERE, ["bash", "-c", "exit 255"], print).code == 255
    install("ssh", "echo 'ssh: connect to host box port 22: Connection refused' >&2; exit 255")
    expected = r"^box cannot be reached \(.*refused\); nothing listens there"
    with pytest.raises(EnvironmentProblem, match=expected):
        SshHost("box").run(["true"])
    with pytest.raises(EnvironmentProblem, match=expected):
        told(SshHost("box"), ["true"], lambda _: None)


@settings(max_examples=25, deadline=None)
@example(["", "-n", "--", "a b", "'", '"', "\\", "\n", "$(id)", "*", "~", "!", "é"])
@given(ARGUMENTS)
def test_a_script_gets_its_arguments_unchanged(given_arguments: list[str]) -> None:
    done = script(HERE, 'printf "%s\\0" "$#" "$@"', *given_arguments)
    assert done.raw.decode().split("\0")[:-1] == [str(len(given_arguments)), *given_arguments]


@settings(max_examples=25, deadline=None)
@example(["", "-n", "--", "a b", "'", '"', "\\", "\n", "$(id)", "*", "~", "!", "é"])
@given(ARGUMENTS)
def test_what_ssh_hands_to_the_shell_over_there_is_the_same_command(given_arguments: list[str]) -> None:
    _, (address, remote) = options_of(SshHost("box").argv(["printf", "%s\\0", "start", *given_arguments]))
    there = subprocess.run(["bash", "-c", remote], capture_output=True, check=True).stdout
    assert address == "box"
    assert there.decode().split("\0")[:-1] == ["start", *given_arguments]


def test_a_command_behind_ssh_gets_input_and_gives_output_and_code(install: Install) -> None:
    install("ssh", 'bash -c "${@: -1}"')
    done = script(SshHost("box"), 'cat; echo "$1"; exit 3', "x  y", given=b"given ")
    assert (done.code, done.output) == (3, "given x  y\n")


# --- long commands ---------------------------------------------------------------------------------------------------


def test_each_line_is_told_errors_included() -> None:
    heard: list[str] = []
    done = told(HERE, ["bash", "-c", "echo one; echo two >&2; printf '\\xff\\nlast'; exit 4"], heard.append)
    assert heard == ["one", "two", "\N{REPLACEMENT CHARACTER}", "last"]
    assert (done.code, done.raw) == (4, b"one\ntwo\n\xff\nlast")


def test_a_line_is_told_before_the_command_ends(tmp_path: Path) -> None:
    """The command waits for a file that is written when its line is heard."""
    go = tmp_path / "go"
    done = told(HERE, ["bash", "-c", 'echo ready; until [[ -e $1 ]]; do sleep 0.01; done', "x", str(go)],
                lambda _: go.touch())  # fmt: skip
    assert done.code == 0


def test_more_input_than_a_pipe_holds_while_the_command_already_writes() -> None:
    text = b"0123456789abcdef\n" * 100_000
    heard: list[str] = []
    assert told(HERE, ["cat"], heard.append, text).raw == text
    assert len(heard) == 100_000


def test_a_command_that_ends_before_it_has_read_its_input() -> None:
    done = told(HERE, ["bash", "-c", "exec <&-; echo enough; exit 5"], lambda _: None, b"x" * 10_000_000)
    assert (done.code, done.output) == (5, "enough\n")


# --- files on this machine -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["put", "get"])
def test_files_arrive_whatever_they_are_called(tmp_path: Path, way: str) -> None:
    source, target = tmp_path / "from here", tmp_path / "to" / "there"
    for name in [*NAMES, "not asked for"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode())
    (source / "plain").chmod(0o750)
    (source / "link").symlink_to("two words")
    (source / "dangling").symlink_to("nowhere")
    names = [*NAMES, "link", "dangling"]

    if way == "put":
        HERE.put(source, names, str(target))
    else:
        HERE.get(str(source), names, target)

    there = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_symlink() or path.is_file()}
    assert there == set(names)
    assert all((target / name).read_bytes() == name.encode() for name in NAMES)
    assert (target / "link").readlink() == Path("two words")
    assert (target / "dangling").readlink() == Path("nowhere")
    assert (target / "plain").stat().st_mode & 0o777 == 0o750


# --- ssh's command line ----------------------------------------------------------------------------------------------


def test_options_of_a_host_by_its_name_alone() -> None:
    given_options, _ = getopt.getopt(SshHost("box").options(), SSH_OPTIONS)
    assert given_options == [
        ("-o", "BatchMode=yes"),
        ("-o", "ConnectTimeout=10"),
        ("-o", "ServerAliveInterval=10"),
        ("-o", "ServerAliveCountMax=3"),
    ]


def test_options_of_a_host_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    host = SshHost("box", "anna", 2222, "~/.ssh/key", "~/my config")
    given_options, rest = options_of(host.argv(["echo", "a b"]))
    assert given_options[4:9] == [
        ("-F", "/home/me/my config"),
        ("-i", "/home/me/.ssh/key"),
        ("-o", "IdentitiesOnly=yes"),
        ("-p", "2222"),
        ("-l", "anna"),
    ]
    assert given_options[-1] == ("-T", "")
    assert rest == ["box", "echo 'a b'"]
    assert (host.label, SshHost("box").label, host.local) == ("anna@box", "box", False)


VALUES = st.text(st.sampled_from("-oPF=/ lix"), min_size=1, max_size=8)


@settings(max_examples=100)
@example("-oProxyCommand=id", "-oProxyCommand=id", "-F/x", "-E/x")
@given(VALUES, VALUES, VALUES, VALUES)
def test_no_value_becomes_an_option(address: str, username: str, identity: str, config: str) -> None:
    plain, _ = options_of(SshHost("box", "anna", 22, "/key", "/config").argv(["true"]))
    odd, rest = options_of(SshHost(address, username, 22, identity, config).argv(["true"]))
    assert [name for name, _ in odd] == [name for name, _ in plain]
    assert [value for name, value in odd if name == "-o"] == [value for name, value in plain if name == "-o"]
    assert dict(odd)["-l"] == username
    assert rest == [address, "true"]


def test_connections_are_shared_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    given_options, _ = options_of(SshHost("box").argv(["true"]))
    folder = tmp_path / f"wf-ssh-{os.getuid()}"
    assert ("-o", "ControlMaster=auto") in given_options
    assert ("-o", f"ControlPath={folder}/%C") in given_options
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / f"wf-ssh-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(EnvironmentProblem, match="must belong to you alone: remove it and try again"):
        SshHost("box").argv(["true"])


# --- rsync's command line --------------------------------------------------------------------------------------------


def test_files_are_put_by_rsync_into_a_directory_that_is_made(tmp_path: Path, install: Install) -> None:
    install("ssh", 'bash -c "${@: -1}"')
    install("rsync", f"cat >{tmp_path}/listed")
    folder, target = tmp_path / "the project", tmp_path / "on target" / "it's code"
    SshHost("box", "anna", 2222, "/a key").put(folder, NAMES, str(target))

    assert target.is_dir()
    given_arguments = arguments(tmp_path, "rsync")
    assert given_arguments[-3:] == ["--", f"{folder}/", f"box:{target}/"]
    assert {"--files-from=-", "--from0", "--protect-args", "--partial"} <= set(given_arguments)
    shell = shlex.split(given_arguments[given_arguments.index("-e") + 1])
    assert shell == SshHost("box", "anna", 2222, "/a key").argv([])[: len(shell)]
    assert {("-i", "/a key"), ("-l", "anna"), ("-p", "2222")} <= set(options_of(shell)[0])
    assert (tmp_path / "listed").read_bytes().decode().split("\0") == NAMES


def test_files_are_fetched_by_rsync_into_a_folder_that_is_made(tmp_path: Path, install: Install) -> None:
    install("rsync", f"cat >{tmp_path}/listed")
    SshHost("fe80::1").get("/srv/results", [os.fsdecode(b"\xff\xfe"), "b"], tmp_path / "home" / "results")
    assert arguments(tmp_path, "rsync")[-3:] == ["--", "[fe80::1]:/srv/results/", f"{tmp_path}/home/results/"]
    assert (tmp_path / "listed").read_bytes() == b"\xff\xfe\0b"
    assert (tmp_path / "home" / "results").is_dir()


def test_rsync_that_fails_or_loses_the_connection(tmp_path: Path, install: Install) -> None:
    install("rsync", "echo 'rsync: No space left on device (28)' >&2; exit 11")
    with pytest.raises(EnvironmentProblem, match=r"copying files with rsync failed on box \(exit code 11\): .*space"):
        SshHost("box").get("/x", ["a"], tmp_path)
    install("rsync", "echo 'ssh: Could not resolve hostname box: unknown' >&2; exit 255")
    with pytest.raises(EnvironmentProblem, match=r"box cannot be reached .* add a Host entry"):
        SshHost("box").get("/x", ["a"], tmp_path)


def test_a_missing_rsync_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="the command 'rsync' is missing"):
        SshHost("box").get("/x", ["a"], tmp_path)


# --- what ssh complains of -------------------------------------------------------------------------------------------

CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Host key for box has changed and you have requested strict checking.
Host key verification failed.
"""
TOO_OPEN = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Permissions 0644 for '/key' are too open.
It is required that your private key files are NOT accessible by others.
This private key will be ignored.
Load key "/key": bad permissions
anna@box: Permission denied (publickey).
"""


@pytest.mark.parametrize(
    ("complaint", "said", "remedy"),
    [
        ("anna@box: Permission denied (publickey).\r\n", "Permission denied (publickey).", "ssh-add"),
        ("No ED25519 host key is known for box.\nHost key verification failed.", "verification failed.", "by hand"),
        ("ssh: connect to host box port 22: Connection refused", "Connection refused", "port, and that sshd runs"),
        ("ssh: Could not resolve hostname box: Name or service not known", "not known", "add a Host entry"),
        ("ssh: connect to host box port 22: Connection timed out", "Connection timed out", "firewall and VPN"),
        ("ssh: connect to host box port 22: No route to host", "No route to host", "check address and network"),
        ("Can't open user config file /x: No such file or directory", "/x: No such file", "sshConfig"),
        ("kex_exchange_identification: Connection closed by remote host", "by remote host", "try: ssh anna@box"),
        ("", "the connection failed", "try: ssh anna@box"),
        (" \n@@@@\n---\n", "the connection failed", "try: ssh anna@box"),
        (CHANGED, "Host key verification failed.", "find out why before you remove the old one"),
        (TOO_OPEN, "Permission denied (publickey).", "chmod 600"),
    ],
)
def test_a_complaint_is_one_line_with_a_remedy(complaint: str, said: str, remedy: str) -> None:
    line = unreachable("anna@box", complaint)
    assert line.startswith("anna@box cannot be reached (")
    assert said in line.partition("); ")[0]
    assert remedy in line.partition("); ")[2]
    assert len(line.splitlines()) == 1
    assert line.endswith(".")

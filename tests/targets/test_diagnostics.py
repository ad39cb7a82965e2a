"""The zip for a bug report holds what helps, and no secret."""

from __future__ import annotations

import base64
import json
import sys
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets.diagnostics import write_diagnostics

GIVEN = "Given+Secret/planted 1"
PLANTED = ["AccountKeyPlanted==", "EnvironmentPlanted", "PasswordPlanted", "BearerPlanted", "KeyBodyPlanted"]
LOG = f"""\
first line, kept
DefaultEndpointsProtocol=https;AccountName=store;AccountKey={PLANTED[0]};EndpointSuffix=core
the launcher's own variable shows up: {PLANTED[1]}
https://me:{PLANTED[2]}@host/path
Authorization: Bearer {PLANTED[3]}
-----BEGIN RSA PRIVATE KEY-----
{PLANTED[4]}
-----END RSA PRIVATE KEY-----
{GIVEN} {quote(GIVEN)} {quote(GIVEN, safe="")} {base64.b64encode(GIVEN.encode()).decode()}
last line, kept ünï
"""


def unzipped(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_no_planted_secret_is_in_the_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_TOKEN", PLANTED[1])
    (tmp_path / "log").write_text(LOG)
    sources: dict[str, str | Path] = {
        "logs/log": tmp_path / "log",
        "settings.json": LOG,
        f"run {GIVEN.replace('/', '-')}": "x",
        PLANTED[1]: "y",
    }
    path = write_diagnostics(tmp_path / "new" / "report.zip", sources, [GIVEN, GIVEN.replace("/", "-")])
    texts = unzipped(path)
    whole = path.read_bytes().decode("latin-1") + json.dumps(texts, ensure_ascii=False)
    forms = (quote(GIVEN), quote(GIVEN, safe=""), base64.b64encode(GIVEN.encode()).decode())
    assert not [secret for secret in [*PLANTED, *forms, GIVEN, "Given+Secret"] if secret in whole]
    assert set(texts) == {"about.json", "logs/log", "settings.json", "run ***", "***"}
    assert texts["logs/log"] == texts["settings.json"]
    assert texts["logs/log"].splitlines()[0] == "first line, kept"
    assert texts["logs/log"].splitlines()[-1] == "last line, kept ünï"


def test_about_says_what_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ssh", "git"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{'echo >&2' if name == 'ssh' else 'echo'} {name} 1.2.3\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    about = json.loads(unzipped(write_diagnostics(tmp_path / "a.zip", {}, []))["about.json"])
    assert about["tools"] == {
        "ssh": "ssh 1.2.3",
        "git": "git 1.2.3",
        "rsync": "not installed",
        "docker": "no answer, exit code 3",
    }
    assert about["python"] == sys.version
    assert about["libraries"]["pytest"] == pytest.__version__
    assert about["operating system"]


def test_the_owner_alone_may_read_it_and_the_last_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "report.zip"
    path.write_text("old")
    path.chmod(0o644)
    assert write_diagnostics(path, {"a": "text"}, []) == path
    assert path.stat().st_mode & 0o777 == 0o600
    assert unzipped(path)["a"] == "text"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_one_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "report.zip"
    path.write_text("old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EnvironmentProblem, match="No space left"):
        write_diagnostics(path, {"a": "text"}, [])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"PK\x03\x04\x00", b"\xff\xfe", b"text\0"])
def test_binary_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(SettingsError, match=r"model\.bin is not text"):
        write_diagnostics(tmp_path / "report.zip", {"m": tmp_path / "model.bin"}, [])
    assert not (tmp_path / "report.zip").exists()


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "", "about.json", "a\\b"])
def test_names_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be a file's name"):
        write_diagnostics(tmp_path / "report.zip", {name: "x"}, [])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"none\.log cannot be read"):
        write_diagnostics(tmp_path / "report.zip", {"log": tmp_path / "none.log"}, [])

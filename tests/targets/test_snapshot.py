"""Which files travel: git's own answer is the oracle for ignore rules, plain Python for sizes and digests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.targets.snapshot import Snapshot, copy, project_files


@pytest.fixture(autouse=True)
def own_git(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test depends on the settings of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
    settings_file = home / "gitconfig"
    settings_file.write_text(
        '[user]\n name = Test\n email = test@example.invalid\n[protocol "file"]\n allow = always\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings_file))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    return folder


def write(folder: Path, *names: str, text: str = "x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")


def files(folder: Path) -> set[str]:
    return set(project_files(folder, 100).files)


@pytest.mark.parametrize("tracked", ["tracked", "untracked", "no repository"])
def test_ignored_files_stay_at_home(tmp_path: Path, tracked: str) -> None:
    project = tmp_path / "a project"
    if tracked != "no repository":
        repository(project)
    write(project, "MLproject", "code/main.py", "outputs/big", "code/cache/a.pyc", "code/keep.log", "other.log")
    write(project, ".gitignore", text="/outputs/\n*.log\n")
    write(project, "code/.gitignore", text="cache\n!keep.log\n")
    if tracked == "tracked":
        commit(project)
    assert files(project) == {".gitignore", "MLproject", "code/.gitignore", "code/keep.log", "code/main.py"}


def test_changes_that_are_not_committed_travel(tmp_path: Path) -> None:
    project = repository(tmp_path)
    write(project, "kept.py", "deleted.py", "renamed.py")
    commit(project)
    (project / "deleted.py").unlink()
    (project / "renamed.py").rename(project / "new name.py")
    assert files(project) == {"kept.py", "new name.py"}


def test_tracked_files_that_are_ignored_travel_as_git_keeps_them(tmp_path: Path) -> None:
    project = repository(tmp_path)
    write(project, "forced.log")
    commit(project)
    write(project, ".gitignore", text="*.log\n")
    assert files(project) == {".gitignore", "forced.log"}


@pytest.mark.parametrize("inside", [True, False])
def test_runignore_holds_in_any_folder_and_for_tracked_files(tmp_path: Path, inside: bool) -> None:
    project = repository(tmp_path) if inside else tmp_path
    write(
        project, "a.py", "docs/a.md", "docs/deep/b.md", "data/big.csv", "data/small.csv", "tests/t.py", "x/tests/t.py"
    )
    write(project, ".runignore", text="/tests/\n*.md\n")
    write(project, "data/.runignore", text="*.csv\n!small.csv\n")
    if inside:
        commit(project)
    assert files(project) == {".runignore", "a.py", "data/.runignore", "data/small.csv", "x/tests/t.py"}


def test_runignore_does_not_bring_back_what_git_ignores(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "secret.pem")
    write(tmp_path, ".gitignore", text="*.pem\n")
    write(tmp_path, ".runignore", text="!secret.pem\n")
    assert files(tmp_path) == {".gitignore", ".runignore", "a.py"}


def test_project_in_a_folder_of_a_repository(tmp_path: Path) -> None:
    outer = repository(tmp_path)
    write(outer, "README", "project/MLproject", "project/code/a.py", "project/x.tmp", "beside/b.py")
    write(outer, ".gitignore", text="*.tmp\n")
    commit(outer)
    write(outer, "project/new.py")
    assert files(outer / "project") == {"MLproject", "code/a.py", "new.py"}


def test_project_in_a_folder_that_the_outer_repository_ignores(tmp_path: Path) -> None:
    outer = repository(tmp_path)
    write(outer, "outputs/project/MLproject", "outputs/project/a.log")
    write(outer, "outputs/project/.gitignore", text="*.log\n")
    write(outer, ".gitignore", text="/outputs/\n")
    assert files(outer / "outputs" / "project") == {".gitignore", "MLproject"}


def test_user_wide_rules_and_the_repository_s_own_hold(tmp_path: Path) -> None:
    (Path(os.environ["XDG_CONFIG_HOME"]) / "git").mkdir()
    (Path(os.environ["XDG_CONFIG_HOME"]) / "git" / "ignore").write_text("*.swp\n")
    project = repository(tmp_path)
    write(project, "a.py", "a.swp", "mine.txt")
    (project / ".git" / "info" / "exclude").write_text("mine.txt\n")
    assert files(project) == {"a.py"}


def test_submodules_and_nested_repositories_travel_with_their_own_rules(tmp_path: Path) -> None:
    library = repository(tmp_path / "library")
    write(library, "lib.py")
    write(library, ".gitignore", text="*.o\n")
    commit(library)
    project = repository(tmp_path / "project")
    write(project, "main.py")
    git(project, "submodule", "--quiet", "add", str(library), "vendor/library")
    commit(project)
    nested = repository(project / "nested")
    write(nested, "n.py", "n.tmp")
    write(nested, ".gitignore", text="*.tmp\n")
    write(project, "vendor/library/new.py", "vendor/library/new.o")
    write(project, ".runignore", text="/nested/n.py\n")
    assert files(project) == {
        ".gitmodules",
        ".runignore",
        "main.py",
        "nested/.gitignore",
        "vendor/library/.gitignore",
        "vendor/library/lib.py",
        "vendor/library/new.py",
    }
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(project), str(clone))  # the submodule is not checked out
    assert files(clone) == {".gitmodules", "main.py"}


def test_a_hook_s_environment_does_not_lead_to_its_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = repository(tmp_path / "other")
    write(other, "other.py")
    commit(other)
    project = repository(tmp_path / "project")
    write(project, "mine.py")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert files(project) == {"mine.py"}


def test_a_merge_conflict_lists_the_file_once(tmp_path: Path) -> None:
    project = repository(tmp_path)
    write(project, "a.py", text="one")
    commit(project)
    git(project, "checkout", "-q", "-b", "side")
    write(project, "a.py", text="two")
    commit(project)
    git(project, "checkout", "-q", "-")
    write(project, "a.py", text="three")
    commit(project)
    with pytest.raises(subprocess.CalledProcessError):
        git(project, "merge", "side")
    assert project_files(project, 1).files == ("a.py",)


@pytest.mark.parametrize("inside", [True, False])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(
        st.binary(min_size=1, max_size=12).filter(
            lambda name: not set(name) & {0, 0x2F} and name not in {b".", b".."} and name[:4].lower() != b".git"
        ),
        min_size=1,
        max_size=6,
    )
)
@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes UTF-8 only")
def test_every_name_works(tmp_path: Path, inside: bool, names: set[bytes]) -> None:
    project, target = tmp_path / "project", tmp_path / "target"
    for folder in (project, target):
        shutil.rmtree(os.fsencode(folder), ignore_errors=True)
    project.mkdir()
    if inside:
        repository(project)
    for name in names:
        (project / os.fsdecode(name)).write_bytes(name)
    snapshot = project_files(project, 1)
    assert {os.fsencode(name) for name in snapshot.files} == names
    assert snapshot.bytes == sum(map(len, names))
    copy(snapshot, target)
    assert {os.fsencode(path.name): path.read_bytes() for path in target.iterdir()} == {name: name for name in names}


def test_odd_names_are_kept_and_can_be_ignored(tmp_path: Path) -> None:
    project = repository(tmp_path)
    names = {"new\nline", " space ", "tab\t", 'quote"', "ünï/çødé", os.fsdecode(b"latin-\xe9"), "-rf", "back\\slash"}
    write(project, *names, text="")
    assert files(project) == names
    commit(project)
    assert files(project) == names
    write(project, ".runignore", text="new?line\nünï/\n")
    assert files(project) == names - {"new\nline", "ünï/çødé"} | {".runignore"}


def test_links_stay_links(tmp_path: Path) -> None:
    project = tmp_path / "project"
    write(project, "real/a.py", text="content")
    (project / "file").symlink_to("real/a.py")
    (project / "folder").symlink_to("real")
    (project / "dangling").symlink_to("real/later")
    (project / "real" / "up").symlink_to("../real/./a.py")
    snapshot = project_files(project, 1)
    assert set(snapshot.files) == {"real/a.py", "file", "folder", "dangling", "real/up"}
    copy(snapshot, tmp_path / "target")
    for name in ("file", "folder", "dangling", "real/up"):
        assert (tmp_path / "target" / name).readlink() == (project / name).readlink()


@pytest.mark.parametrize("inside", [True, False])
def test_links_that_lead_outside_are_named(tmp_path: Path, inside: bool) -> None:
    project = repository(tmp_path / "project") if inside else tmp_path / "project"
    write(project, "a.py", "sub/b.py")
    (project / "sub" / "data").symlink_to("../../elsewhere")
    (project / "absolute").symlink_to(project / "a.py")
    with pytest.raises(SettingsError, match="outside") as caught:
        project_files(project, 1)
    assert "sub/data -> ../../elsewhere" in str(caught.value)
    assert "absolute -> " in str(caught.value)
    assert ".runignore" in str(caught.value)
    write(project, ".runignore", text="data\n/absolute\n")
    assert files(project) == {".runignore", "a.py", "sub/b.py"}


def test_a_link_through_a_link_that_leads_outside_is_named(tmp_path: Path) -> None:
    project = tmp_path / "project"
    write(project, "a.py")
    (tmp_path / "elsewhere").mkdir()
    (project / "first").symlink_to("../elsewhere")
    (project / "second").symlink_to("first/x")
    write(project, ".runignore", text="/first\n")
    with pytest.raises(SettingsError, match="second -> first/x"):
        project_files(project, 1)


def test_tracked_files_behind_a_new_link_are_gone(tmp_path: Path) -> None:
    project = repository(tmp_path)
    write(project, "old/a.py", "new/a.py")
    commit(project)
    shutil.rmtree(project / "old")
    (project / "old").symlink_to("new")
    assert files(project) == {"new/a.py", "old"}


def test_over_the_limit_the_largest_are_named(tmp_path: Path) -> None:
    for size in range(1, 8):
        (tmp_path / f"file {size}").write_bytes(bytes(size * 100_000))
    assert project_files(tmp_path, 2.8).bytes == 2_800_000
    with pytest.raises(SettingsError) as caught:
        project_files(tmp_path, 2.7)
    message = str(caught.value)
    assert "2.8 MB" in message
    assert "2.7 MB" in message
    places = [message.index(f"'file {size}' ({size / 10:.1f} MB)") for size in (7, 6, 5, 4, 3)]
    assert places == sorted(places)
    assert "'file 2'" not in message
    assert ".runignore" in message
    assert "sizeLimitMegabytes" in message
    write(tmp_path, ".runignore", text="file 7\n")
    assert project_files(tmp_path, 2.2).bytes == 2_100_000 + len("file 7\n")


def test_the_digest_stands_for_names_contents_and_executable_bits(tmp_path: Path) -> None:
    project = tmp_path / "project"
    write(project, "a.py", "b/c.sh")
    (project / "link").symlink_to("a.py")
    seen = [project_files(project, 1).digest]

    def changed() -> bool:
        seen.append(project_files(project, 1).digest)
        return seen[-1] not in seen[:-1]

    os.utime(project / "a.py", (1, 1))
    assert not changed()
    (project / "a.py").chmod(0o600)
    assert not changed()
    write(project, "a.py", text="y")
    assert changed()
    (project / "b" / "c.sh").chmod(0o755)
    assert changed()
    (project / "a.py").rename(project / "aa.py")
    assert changed()
    (project / "link").unlink()
    (project / "link").symlink_to("aa.py")
    assert changed()
    (project / "link").unlink()
    write(project, "link", text="aa.py")
    assert changed()
    assert len(seen[-1]) == 64


def test_the_digest_is_that_of_a_copy_and_of_a_repository(tmp_path: Path) -> None:
    project = tmp_path / "project"
    write(project, "a.py", "sub/b.py")
    loose = project_files(project, 1)
    copy(loose, tmp_path / "copy")
    repository(project)
    commit(project)
    assert project_files(project, 1).digest == loose.digest == project_files(tmp_path / "copy", 1).digest


def test_a_copy_keeps_modes_and_times(tmp_path: Path) -> None:
    project, target = tmp_path / "project", tmp_path / "runs" / "one" / "code"
    write(project, "run.sh", "sub/a.py")
    (project / "run.sh").chmod(0o754)
    os.utime(project / "sub" / "a.py", (1_000_000_000, 1_000_000_000))
    copy(project_files(project, 1), target)
    assert (target / "run.sh").stat().st_mode & 0o777 == 0o754
    assert (target / "sub" / "a.py").stat().st_mtime == 1_000_000_000
    with pytest.raises(EnvironmentProblem, match="not empty"):
        copy(project_files(project, 1), target)


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    snapshot = Snapshot(folder=tmp_path, files=("gone.py",), bytes=1, digest="")
    with pytest.raises(EnvironmentProblem, match=r"gone\.py"):
        copy(snapshot, tmp_path / "target")


def test_without_git_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="git is not installed"):
        project_files(tmp_path, 1)


def test_what_git_says_reaches_the_user(tmp_path: Path) -> None:
    project = repository(tmp_path)
    (project / ".git" / "config").write_text("[core\n")
    with pytest.raises(EnvironmentProblem, match="bad config line 1"):
        project_files(project, 1)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no project folder"):
        project_files(tmp_path / "none", 1)
    assert project_files(tmp_path, 1).files == ()

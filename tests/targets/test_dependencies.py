"""What a project needs, from the files that MLflow and pip know."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workload_forecast.errors import SettingsError
from workload_forecast.targets.dependencies import Dependencies, environment_hash, read_dependencies

PROJECT = Path(__file__).parents[2]


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_txt", ".txt").replace("_yaml", ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def requirements(folder: Path, text: str, **others: str) -> Dependencies:
    return read_dependencies(write(folder, requirements_txt=text, **others), "requirements.txt")


def test_this_project() -> None:
    found = read_dependencies(PROJECT)
    assert found.python == "==3.11.*"
    assert found.ignored == ("openjdk",)
    lock = (PROJECT / "requirements.txt").read_text()
    assert found.requirements.count("--hash=") == lock.count("--hash=")
    assert {name: found.pins[name] for name in ("mlflow", "pyspark")} == {
        name: next(line for line in lock.splitlines() if line.startswith(f"{name}==")).split()[0].split("==")[1]
        for name in ("mlflow", "pyspark")
    }
    assert not [line for line in found.requirements.splitlines() if line.startswith(("#", "-", " "))]


def test_a_project_without_files_needs_nothing(tmp_path: Path) -> None:
    assert read_dependencies(tmp_path) == Dependencies()
    write(tmp_path, MLproject="name: x\n")
    assert read_dependencies(tmp_path) == Dependencies()


@pytest.mark.parametrize("mlproject", ["conda_env: env.yaml", "name: x\nconda_env: env.yaml\nentry_points: {}"])
def test_the_file_that_mlproject_names(tmp_path: Path, mlproject: str) -> None:
    write(tmp_path, mlPROJECT=mlproject, env_yaml="dependencies: [python=3.11, pip, {pip: [numpy==2.1.0]}]")
    write(tmp_path, conda_yaml="dependencies: [{pip: [wrong]}]")
    assert read_dependencies(tmp_path) == Dependencies("==3.11.*", "numpy==2.1.0\n", {"numpy": "2.1.0"})


def test_mlflow_s_usual_file(tmp_path: Path) -> None:
    write(tmp_path, conda_yaml="dependencies: [{pip: [numpy]}]")
    assert read_dependencies(tmp_path).requirements == "numpy\n"
    write(tmp_path, MLproject="docker_env: {image: x}")
    assert read_dependencies(tmp_path) == Dependencies()


def test_python_env(tmp_path: Path) -> None:
    write(tmp_path, MLproject="python_env: python_env.yaml", requirements_txt="pandas==2.2.0\n")
    write(
        tmp_path,
        python_env_yaml="python: 3.11.7\nbuild_dependencies: [pip==23.3, flit_core==3.11]\ndependencies:\n"
        " - -r requirements.txt\n - numpy>=2\n",
    )
    found = read_dependencies(tmp_path)
    assert found.python == "==3.11.7"
    assert found.requirements == "flit_core==3.11\npandas==2.2.0\nnumpy>=2\n"
    assert found.pins == {"flit-core": "3.11", "pandas": "2.2.0"}


@pytest.mark.parametrize(
    ("written", "expected", "accepts", "refuses"),
    [
        ("python=3.11", "==3.11.*", "3.11.2", "3.12.0"),
        ("python 3.11.*", "==3.11.*", "3.11.2", "3.12.0"),
        ("conda-forge::python=3.11.7", "==3.11.7", "3.11.7", "3.11.8"),
        ("python==3.10", "==3.10", "3.10.0", "3.10.1"),
        ("python=3.11.7=h955ad1f_0", "==3.11.7", "3.11.7", "3.11.8"),
        ("python >=3.10, <3.13", "<3.13,>=3.10", "3.12.9", "3.13.0"),
        ("python", "", "3.9.1", None),
    ],
)
def test_python_version(tmp_path: Path, written: str, expected: str, accepts: str, refuses: str | None) -> None:
    write(tmp_path, conda_yaml=f"dependencies: ['{written}']")
    found = read_dependencies(tmp_path)
    assert found.python == expected
    assert found.accepts_python(accepts)
    assert refuses is None or not found.accepts_python(refuses)


def test_a_python_version_that_nobody_understands(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'=three' is not understood"):
        read_dependencies(write(tmp_path, conda_yaml="dependencies: [python=three]"))


@pytest.mark.parametrize("package", ["gcc_linux-64=12", "conda-forge::r-base>=4", "numpy"])
def test_packages_of_conda_s_are_refused(tmp_path: Path, package: str) -> None:
    write(tmp_path, conda_yaml=f"dependencies: [python=3.11, pip, openjdk=17, '{package}']")
    with pytest.raises(SettingsError, match=r"(gcc_linux-64|r-base|numpy) is a package of conda's.*Dockerfile"):
        read_dependencies(tmp_path)


def test_includes_are_relative_to_the_including_file(tmp_path: Path) -> None:
    found = requirements(
        tmp_path,
        "a==1\n-r deep/b.txt  # more\n--constraint=limits.txt\nz\n",
        deep__b_txt="b==2\n--requirement ../c.txt\n-rd.txt\n",
        deep__d_txt="d==4\n",
        c_txt="\ufeffc==3\n",
        limits_txt="limited<5\n",
    )
    assert found.requirements == "a==1\nb==2\nc==3\nd==4\nlimited<5\nz\n"
    assert found.pins == {"a": "1", "b": "2", "c": "3", "d": "4"}


def test_conda_s_pip_part_includes_relative_to_its_file(tmp_path: Path) -> None:
    write(tmp_path, env__conda_yaml="dependencies: [{pip: [-r more.txt, x]}]", env__more_txt="y\n")
    assert read_dependencies(tmp_path, "env/conda.yaml").requirements == "y\nx\n"


def test_a_file_that_is_included_twice_counts_once(tmp_path: Path) -> None:
    found = requirements(tmp_path, "-r a.txt\n-r b.txt\n", a_txt="-r c.txt\n", b_txt="-r c.txt\n", c_txt="c==1\n")
    assert found.requirements == "c==1\n"


def test_comments_and_continuations_are_joined_as_pip_does(tmp_path: Path) -> None:
    text = "# top\n\na==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n    # via b\nb==2 # why\nc @ https://h/c.zip#frag\n"
    text += "d==1 \\\n# comment ends it\ne==1\n--extra-index-url https://example.invalid/simple\nlast==1 \\"
    found = requirements(tmp_path, text)
    assert found.requirements.splitlines() == [
        "a==1 --hash=sha256:00 --hash=sha256:11",
        "b==2",
        "c @ https://h/c.zip#frag",
        "d==1",
        "e==1",
        "--extra-index-url https://example.invalid/simple",
        "last==1",
    ]
    assert found.pins == {"a": "1", "b": "2", "d": "1", "e": "1", "last": "1"}


def test_pips_own_parser_reads_the_flat_text_as_the_files(tmp_path: Path) -> None:
    parse = pytest.importorskip("pip._internal.req.req_file").parse_requirements
    session = pytest.importorskip("pip._internal.network.session").PipSession()

    def lines(path: Path) -> list[tuple[str, str]]:
        options = ((" ".join(one.requirement.split()), str(one.options)) for one in parse(str(path), session))
        return list(options)

    (tmp_path / "flat.txt").write_text(read_dependencies(PROJECT).requirements)
    expected = lines(PROJECT / "requirements.txt")
    assert lines(tmp_path / "flat.txt") == expected
    assert len(expected) > 50


def test_candidates_of_all_markers_are_kept(tmp_path: Path) -> None:
    found = requirements(
        tmp_path,
        "numpy==2.2.6 ; python_version < '3.11'\nNumPy[extra]==2.4.0 ; python_version >= '3.11'\n"
        "My_Pkg===1.0\nwild==1.*\nrange>=1,==1.5\nnone\n",
    )
    assert found.pins == {"my-pkg": "1.0", "numpy": "2.2.6|2.4.0", "range": "1.5"}


@pytest.mark.parametrize(
    "line", ["-e .", "--editable=./x", "./x", "../x.whl", "wheels/x-1.whl", "file:///x", "x.tar.gz"]
)
def test_local_paths_are_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(SettingsError, match=r"requirements.txt:2: .* is a local path"):
        requirements(tmp_path, f"\n{line}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-r ../outside.txt", "lies outside the project"),
        ("-r /etc/hostname", "lies outside the project"),
        ("-r link.txt", "lies outside the project"),
        ("-r missing.txt", "there is no file"),
        ("-r https://example.invalid/r.txt", "includes no file of the project"),
        ("a b c", "is no requirement of pip's"),
        ("--find-links ./wheels", "is not on the target"),
        ("--index-url https://user:hunter2@example.invalid/simple", "holds a password"),
    ],
)
def test_what_a_target_cannot_install_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    project = tmp_path / "project"
    write(tmp_path, outside_txt="x\n")
    project.mkdir()
    (project / "link.txt").symlink_to("../outside.txt")
    with pytest.raises(SettingsError, match=message) as caught:
        requirements(project, f"ok==1\n{text}\n")
    assert "requirements.txt:2" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_index_s_password_may_be_a_variable(tmp_path: Path) -> None:
    line = "--index-url https://user:${INDEX_PASSWORD}@example.invalid/simple"
    assert requirements(tmp_path, line).requirements == f"{line}\n"


def test_cycles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"includes itself: .*requirements.txt -> .*a.txt -> .*requirements.txt"):
        requirements(tmp_path, "-r a.txt\n", a_txt="-c requirements.txt\n")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("env.yaml", "a: [", "is not YAML"),
        ("env.yaml", "just text", "no names and values"),
        ("env.yaml", "dependencies: numpy", "is not a list"),
        ("env.yaml", "dependencies: [{other: [x]}]", "is not understood"),
        ("env.toml", "", "neither conda's YAML"),
    ],
)
def test_files_that_are_not_understood(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_dependencies(tmp_path, name)


def test_missing_and_outside_files(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="dependenciesFile: there is no file"):
        read_dependencies(tmp_path, "none.txt")
    with pytest.raises(SettingsError, match="lies outside"):
        read_dependencies(tmp_path, "/etc/none.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xe9")
    with pytest.raises(SettingsError, match="UTF-8"):
        read_dependencies(tmp_path, "latin.txt")


@given(st.lists(st.lists(st.text(max_size=4), max_size=3), unique_by=tuple, max_size=8))
def test_hashes_tell_lists_of_texts_apart(lists: list[list[str]]) -> None:
    hashes = [environment_hash(*parts) for parts in lists]
    assert all(one != other for one, other in pairwise(sorted(hashes)))
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in hashes)
    assert hashes == [environment_hash(*parts) for parts in lists]

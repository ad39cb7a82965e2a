from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workload_forecast import config
from workload_forecast.cli import cli, run
from workload_forecast.model.algorithms import ALGORITHMS

PROJECT = Path(__file__).parents[1]
ENTRY_POINTS = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --duration ONE_YEAR", "'ONE_YEAR' is not one of 'ONE_MONTH', 'FULL', 'CUSTOM'"),
        ("train --max-depth 31", "31 is not in the range 1<=x<=30"),
        ("train --num-trees none", "'none' is not a valid integer"),
        ("train --num-trees 50", "algorithm 'same_hour_mixture' has no parameter num_trees"),
        ("train --algorithm magic", "'magic' is not one of"),
        ("train --thresholds 5,1", "0 <= LOW < HIGH"),
        ("train --reuse perhaps", "'perhaps' is not a valid boolean"),
        ("tune --strategy grid", "'grid' is not one of 'tpe', 'random'"),
        ("tune --max-evals 0", "0 is not in the range 1<=x<=1000"),
        ("tune --minimum-gain 1", "1.0 is not in the range 0<=x<1"),
        ("etl --engine dask", "'dask' is not one of 'auto', 'duckdb', 'spark'"),
        ("etl --debug TRUE", "'TRUE' is not one of 'FALSE', 'FILTER_IP'"),
        ("etl --sample 0", "0.0 is not in the range 0<x<=1"),
        ("train --sample 1.1", "1.1 is not in the range 0<x<=1"),
        ("etl --sample nan", "sample=nan is no share of the servers"),
        (
            "main --sample 0.1 --debug FILTER_IP",
            "debug=FILTER_IP takes a few servers already: leave it out, or sample=0.1",
        ),
        ("etl --duration CUSTOM", "CUSTOM needs a settings file"),
        ("etl --config nowhere.json", "nowhere.json does not exist"),
        ("generate --servers 0", "0 is not in the range"),
        ("generate --dirt-rate 1.5", "1.5 is not in the range"),
        ("generate --layout sessions18", "'sessions18' is not one of"),
        ("monitor --on-alarm mail", "'mail' is not one of 'none', 'retrain', 'rollback'"),
        ("monitor --days 0", "0 is not in the range x>=1"),
        ("promte", "No such command 'promte'"),
    ],
)
def test_a_wrong_parameter_is_one_line_and_no_work(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_mlproject_and_command_line_agree(name: str) -> None:
    declared = ENTRY_POINTS[name]["parameters"]
    options = {option.name: option for option in cli.commands[name].params}
    assert set(declared) == set(options)
    for parameter, declaration in declared.items():
        default = options[parameter].default
        assert str(declaration["default"]).lower() == str(default).lower(), parameter
        assert f"--{parameter.replace('_', '-')} {{{parameter}}}" in ENTRY_POINTS[name]["command"]


def test_defaults_are_those_of_backtests_and_of_the_requirements() -> None:
    parameters = config.TrainingParameters()
    assert (parameters.algorithm, parameters.values) == ("same_hour_mixture", {"seed": 42})
    forest = ALGORITHMS[ENTRY_POINTS["tune"]["parameters"]["algorithm"]["default"]]
    assert {name: forest.defaults[name] for name in ("num_trees", "max_depth", "seed")} == {
        "num_trees": 100,
        "max_depth": 8,
        "seed": 42,
    }


def test_help_names_every_command_and_needs_nothing_heavy() -> None:
    code = (
        "import sys; from workload_forecast.cli import run; run(['--help']);"
        "heavy = {'mlflow', 'pyspark', 'duckdb', 'pandas', 'matplotlib'};"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert all(name in done.stdout for name in ENTRY_POINTS)
    assert done.stderr.strip() == "[]"


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_an_impossible_split_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fields = {
        "dataFile": "x",
        "trainingFrom": "2020-01-01 00:00:00",
        "testFrom": "2020-01-02 00:00:00",
        "to": "2020-01-03 00:00:00",
    }
    (tmp_path / "short.json").write_text(json.dumps(fields))
    assert run(["train", "--config", "short.json"]) == 2
    assert "training" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["short.json"]

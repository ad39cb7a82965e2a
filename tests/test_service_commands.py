"""The service's commands, run in this process with what they start replaced."""

from __future__ import annotations

import csv
import io
import json
import stat
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.service import misbehaving
from tests.service.misbehaving import problem, serving
from workload_forecast import service_commands
from workload_forecast.cli import run
from workload_forecast.registry import log_model, promotion
from workload_forecast.schemas import LOAD_NUMBERS
from workload_forecast.service.keys import Keys
from workload_forecast.service.options import ServiceOptions
from workload_forecast.steps import follow, serve
from workload_forecast.steps.follow import FollowOptions

TOKEN = f"wf_0123abcd_{'s' * 43}"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EXCHANGE", "KEYS", "API_KEY", "SERVICE_URL", "HOME"):
        monkeypatch.delenv(f"WORKLOAD_FORECAST_{name}", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What ``serve`` and ``follow`` would have started."""
    calls: list[Any] = []
    monkeypatch.setattr(serve, "run_serve", lambda *given: calls.append(given))
    monkeypatch.setattr(follow, "run_follow", calls.append)
    monkeypatch.setattr("os.nice", lambda _: 0)
    return calls


def test_defaults_are_what_training_and_promotion_write() -> None:
    assert (service_commands.MODEL, service_commands.ALIAS) == (log_model.MODEL_NAME, promotion.CHAMPION)


def test_serve_starts_with_what_lies_in_the_results_home(called: list[Any], tmp_path: Path) -> None:
    assert run(["serve"]) == 0
    service, arguments = called[0]
    exchange = tmp_path / "outputs" / "service"
    assert service == ServiceOptions(exchange, exchange / "keys.json"), "the command's defaults are the service's"
    assert run(["follow", *arguments]) == 0  # the follower understands what it is told
    options: FollowOptions = called[1]
    assert (options.exchange, options.home) == (exchange, tmp_path / "outputs")
    assert (options.model, options.alias, options.history) == ("workload-forecast", "champion", None)
    assert (options.settings.duration, options.interval_s, options.parent) == ("ONE_MONTH", 5.0, None)


def test_what_serve_is_told_reaches_service_and_follower(
    called: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKLOAD_FORECAST_EXCHANGE", "elsewhere")
    monkeypatch.setenv("WORKLOAD_FORECAST_KEYS", "their.json")
    where = ["--host", "0.0.0.0", "--port", "9", "--history", "load"]
    what = ["--model", "m", "--alias", "a", "--duration", "FULL", "--interval", "0.5"]
    assert run(["serve", *where, *what]) == 0
    service, arguments = called[0]
    assert service == ServiceOptions(tmp_path / "elsewhere", tmp_path / "their.json", "0.0.0.0", 9)
    assert run(["follow", *arguments, "--parent", "7"]) == 0
    options: FollowOptions = called[1]
    assert (options.exchange, options.history) == (service.exchange, tmp_path / "load")
    assert (options.model, options.alias, options.settings.duration) == ("m", "a", "FULL")
    assert (options.interval_s, options.parent) == (0.5, 7)
    assert run(["serve", "--exchange", "x", "--keys", "k", "--follow", "false"]) == 0
    assert called[2] == (ServiceOptions(tmp_path / "x", tmp_path / "k"), None)


def test_limits_come_from_options_or_variables(called: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKLOAD_FORECAST_MAX_HISTORY_AGE_HOURS", "72")
    monkeypatch.setenv("WORKLOAD_FORECAST_MAX_ROWS", "7")
    assert run(["serve", "--max-rows", "9", "--request-timeout-s", "2.5"]) == 0
    service = called[0][0]
    assert (service.max_history_age_hours, service.max_rows, service.request_timeout_s) == (72.0, 9, 2.5)
    assert run(["serve", "--max-servers", "0"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("serve --port 70000", "70000 is not in the range"),
        ("serve --duration ONE_YEAR", "'ONE_YEAR' is not one of"),
        ("serve --config nowhere.json", "nowhere.json does not exist"),
        ("serve --follow perhaps", "'perhaps' is not a valid boolean"),
        ("follow --interval 0", "0.0 is not in the range"),
        ("score", "name a server: --server"),
        ("score --server , ", "name a server: --server"),
        ("score --server a --start noon", "--start 'noon' is no time like 2016-07-01T00:00"),
        ("score --server a --hours 49", "49 is not in the range"),
        ("score --server a --format xml", "'xml' is not one of"),
        ("score --server a", "no key for http://127.0.0.1:8080: make one"),
        ("keys create /", "give 1 to 64 letters"),
        ("keys revoke ada", "has no key with the prefix or name 'ada'"),
    ],
)
def test_a_wrong_parameter_is_one_line(
    arguments: str, message: str, called: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments.split()) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert message in printed.err
    assert called == []


# --- keys


def test_the_life_of_a_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "outputs" / "service" / "keys.json"
    assert run(["keys", "list"]) == 0
    assert "has no keys: make one with" in capsys.readouterr().err
    assert run(["keys", "create", "ada", "--days", "30"]) == 0
    printed = capsys.readouterr()
    token = printed.out.strip()
    assert Keys(file).check(token) is not None
    assert token not in printed.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token.split("_", 2)[2] not in file.read_text()

    assert run(["keys", "rotate", "ada", "--grace-hours", "1"]) == 0
    newer = capsys.readouterr().out.strip()
    assert Keys(file).check(token)
    assert Keys(file).check(newer)
    assert run(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert listed.splitlines()[0].split() == ["NAME", "PREFIX", "CREATED", "EXPIRES"]
    assert sorted(line.split()[1] for line in listed.splitlines()[1:]) == sorted(
        t.split("_", 2)[1] for t in (token, newer)
    )
    assert "never" in listed
    assert newer.split("_", 2)[2] not in listed

    assert run(["keys", "revoke", newer.split("_", 2)[1]]) == 0
    assert Keys(file).check(newer) is None
    assert Keys(file).check(token)


def test_keys_lie_where_the_service_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "create", "ada", "--keys", "mine.json"]) == 0
    assert Keys(tmp_path / "mine.json").check(capsys.readouterr().out.strip())


def test_a_key_is_stored_from_the_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held: list[tuple[str, ...]] = []
    ring, errors = ModuleType("keyring"), ModuleType("keyring.errors")
    ring.set_password = lambda *given: held.append(given)  # type: ignore[attr-defined]
    errors.KeyringError = OSError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", ring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    assert run(["keys", "store", "--url", "https://forecast.example"]) == 0
    assert held == [("workload-forecast", "https://forecast.example", TOKEN)]
    assert "s" * 43 not in capsys.readouterr().err


# --- score


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("WORKLOAD_FORECAST_API_KEY", TOKEN)

    def ask(*arguments: str, behaviour: Any = misbehaving.forecasts) -> int:
        with serving(behaviour) as server:
            return run(["score", "--url", server.url, *arguments])

    return ask


def test_a_table_has_one_aligned_row_an_hour(score: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert score("--server", "10.0.0.1, new", "--hours", "1", "--start", "2016-07-01 05:00") == 0
    printed = capsys.readouterr()
    assert printed.out == (
        "server    hour (UTC)        class    low  medium   high  confidence  source\n"
        "10.0.0.1  2016-07-01 05:00  high   0.125   0.250  0.625       0.625  model\n"
        "new       2016-07-01 05:00  -          -       -      -           -  none\n"
        "\n"
        "m/3, with what was known up to 2016-06-30 23:00\n"
    )
    assert printed.err == "nothing is known of new: no load, or too new.\n"


def test_programs_get_json_or_csv(score: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert score("--server", "a,new", "--hours", "1", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0] == {
        "server": "a",
        "hour": "2016-07-01T00:00:00Z",
        "prediction": "high",
        "probability_low": 0.125,
        "probability_medium": 0.25,
        "probability_high": 0.625,
        "confidence": 0.625,
        "source": "model",
        "model": "m/3",
    }
    assert rows[1]["prediction"] is None
    assert score("--server", "a,new", "--hours", "1", "--format", "csv") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert table == [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


def test_the_load_in_numbers_stands_beside_the_classes(
    score: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--server", "a,new", "--hours", "1", "--load", "true")
    assert score(*asked) == 0
    columns, of_a, of_new = capsys.readouterr().out.splitlines()[:3]
    assert columns.endswith("  source  same hour  expected  error     p10  p50  p90  p95     p99")
    assert of_a.endswith("  model         200    208.12   31.5  150.25  210  260  280  123457")
    assert of_new.endswith("  none            -         -      -       -    -    -    -       -")
    assert len(columns) == len(of_a) == len(of_new)
    assert score(*asked, "--format", "json") == 0
    [row, new] = json.loads(capsys.readouterr().out)
    assert (row["expected_load"], row["load_p99"], row["model"]) == (208.125, 123456.7, "m/3")
    assert {new[name] for name in LOAD_NUMBERS} == {None}
    assert score(*asked, "--format", "csv") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (list(table[0]), table[0]["load_p90"], table[1]["load_p90"]) == (list(row), "260.0", "")


def test_the_exit_code_tells_whose_fault_it_is(score: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert score("--server", "a", behaviour=problem(401, "no")) == 2
    assert score("--server", "a", behaviour=problem(422, "hour is not whole")) == 2
    assert score("--server", "a", behaviour=problem(500, "broken")) == 4
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["error"] * 3
    assert "hour is not whole" in lines[1]


def test_a_time_of_another_zone_is_understood(score: Callable[..., int]) -> None:
    assert service_commands._first_hour("2016-07-01T05:00:00+02:00") == datetime(2016, 7, 1, 3)
    assert service_commands._first_hour("") is None
    assert score("--server", "a", "--start", "2016-07-01T05:00:00Z") == 0


def test_light_commands_stay_light() -> None:
    import subprocess

    code = (
        "import sys; from workload_forecast.cli import run;"
        "run(['keys', 'list']); run(['score', '--server', 'a']);"
        "import workload_forecast.steps.serve;"
        "print(sorted({'mlflow', 'pyspark', 'duckdb', 'pandas', 'polars', 'azure'} & sys.modules.keys()))"
    )
    project = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

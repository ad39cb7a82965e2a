"""``serve``, ``follow``, ``score`` and ``keys``: the service on the command line.

Where nothing else is said, exchange and keys lie in ``service`` in the results' home. Nothing here imports MLflow: the
service is to be ready within seconds, and keys are made in less.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workload_forecast import config
from workload_forecast.errors import SettingsError
from workload_forecast.home import results_home

if TYPE_CHECKING:
    from workload_forecast.service.keys import Key, Keys

EXCHANGE_VARIABLE, KEYS_VARIABLE = "WORKLOAD_FORECAST_EXCHANGE", "WORKLOAD_FORECAST_KEYS"
#: As the training registers it, and the promotion names it; written here, because those modules import MLflow.
MODEL, ALIAS = "workload-forecast", "champion"
DEFAULT_PORT, DEFAULT_INTERVAL_S = 8080, 5.0
FORMATS = ("table", "json", "csv")

Option = Callable[[Callable[..., Any]], Callable[..., Any]]


def add_to(cli: click.Group) -> None:
    """Add the commands to the command line."""
    for command in (serve, follow, score, keys):
        cli.add_command(command)


def home() -> Path:
    """Return the results' home, as steps of the same environment find it.

    MLflow's default store lies in the working directory, whichever of its kinds it is.
    """
    return results_home(os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db", os.environ, Path.cwd())


def _place(given: str, variable: str, name: str) -> Path:
    place = given or os.environ.get(variable)
    return Path(place).expanduser().absolute() if place else home() / "service" / name


def exchange_folder(given: str = "") -> Path:
    """Return the folder that was given, or the environment's, or the one in the results' home."""
    return _place(given, EXCHANGE_VARIABLE, "")


def key_file(given: str = "") -> Path:
    """Return the file that was given, or the environment's, or the one in the results' home."""
    return _place(given, KEYS_VARIABLE, "keys.json")


def _followed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what the follower follows."""
    options: tuple[Option, ...] = (
        click.option("--model", default=MODEL, show_default=True, help="Name of the registered model."),
        click.option("--alias", default=ALIAS, show_default=True, help="Alias of the version that is served."),
        click.option("--duration", default="", help=f"Whose hourly load: {', '.join(config.DURATIONS)}."),
        click.option("--config", default="", help="Settings file (JSON) of the etl."),
        click.option("--history", default="", help="Folder with hourly load (Parquet), instead of an etl's."),
        click.option("--exchange", default="", help=f"Folder between follower and service; {EXCHANGE_VARIABLE}."),
        click.option(
            "--interval",
            default=DEFAULT_INTERVAL_S,
            show_default=True,
            type=click.FloatRange(0.1, 3600),
            help="Seconds between two looks at the registry.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _limited(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what the service takes on; in containers their variables are handier."""
    from workload_forecast.service.options import ServiceOptions

    texts = {
        "max_history_age_hours": "/health answers 503 when the newest hour is older; 0: not checked.",
        "max_body_bytes": "Of a request.",
        "max_rows": "Of /score and /invocations.",
        "max_servers": "Of /forecast.",
        "max_concurrent": "Requests that are being worked on.",
        "request_timeout_s": "Seconds for a request's head, for its body, and for the answer.",
    }
    defaults = {field.name: field.default for field in fields(ServiceOptions)}
    for name, text in reversed(texts.items()):
        variable, flag = f"WORKLOAD_FORECAST_{name.upper()}", f"--{name.replace('_', '-')}"
        option = click.option(
            flag, default=defaults[name], show_default=True, envvar=variable, help=f"{text} {variable}."
        )
        command = option(command)
    return command


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(1, 65_535), help="Port.")
@_followed
@_limited
@click.option("--keys", default="", help=f"File of the keys; {KEYS_VARIABLE}.")
@click.option("--follow", default=True, show_default="true", type=click.BOOL, help="false: follow elsewhere.")
def serve(host: str, port: int, keys: str, *, follow: bool, **given: Any) -> None:
    """Answer forecasts over HTTP, and follow promotions and new hourly load."""
    from workload_forecast.service.options import ServiceOptions

    names = {field.name for field in fields(ServiceOptions)} - {"exchange"}
    limits = {name: value for name, value in given.items() if name in names}
    followed = {name: value for name, value in given.items() if name not in names}
    options = ServiceOptions(exchange_folder(followed["exchange"]), key_file(keys), host, port, **limits)
    arguments = _follow_arguments(followed)
    from workload_forecast.steps.serve import run_serve

    run_serve(options, arguments if follow else None)


@click.command()
@_followed
@click.option("--parent", type=click.INT, default=None, hidden=True)
def follow(parent: int | None, **followed: Any) -> None:
    """Hand champion and newest hourly load to a service; `serve` does this, too."""
    if parent is not None:
        os.nice(10)  # before MLflow is imported: the service, which somebody waits for, starts on the same cores
    settings = _settings(followed)
    from workload_forecast.steps.follow import FollowOptions, run_follow

    run_follow(
        FollowOptions(
            exchange=exchange_folder(followed["exchange"]),
            settings=settings,
            home=home(),
            model=followed["model"],
            alias=followed["alias"],
            history=Path(followed["history"]).expanduser().absolute() if followed["history"] else None,
            interval_s=followed["interval"],
            parent=parent,
        )
    )


def _settings(followed: dict[str, Any]) -> config.Settings:
    return config.load_settings(followed["duration"] or None, followed["config"] or None)


def _follow_arguments(followed: dict[str, Any]) -> list[str]:
    """Check what the follower will be told, and return its arguments."""
    _settings(followed)
    return [part for name, value in followed.items() for part in (f"--{name}", str(value))]


@click.command()
@click.option("--server", default="", help="Server, or several with commas between them.")
@click.option("--start", default="", help="First hour, UTC: 2016-07-01T00:00; default: after the newest known one.")
@click.option("--hours", default=48, show_default=True, type=click.IntRange(1, 48), help="How many hours.")
@click.option("--load", default=False, show_default="false", type=click.BOOL, help="true: the load in numbers, too.")
@click.option("--url", default="", help="URL of the service; WORKLOAD_FORECAST_SERVICE_URL.")
@click.option("--format", default="table", show_default=True, type=click.Choice(FORMATS), help="Of the output.")
def score(server: str, start: str, hours: int, url: str, *, load: bool, **output: str) -> None:
    """Ask the service for the load classes of servers, and their loads in numbers."""
    servers = [name.strip() for name in server.split(",") if name.strip()]
    if not servers:
        raise SettingsError("name a server: --server 10.0.0.1, or several with commas between them.")
    first = _first_hour(start)
    from workload_forecast.service.client import Client
    from workload_forecast.service.output import shown

    forecasts = Client(url or None).forecast(servers, first, hours, load=load)
    click.echo(shown(forecasts, output["format"]), nl=False)
    unknown = [forecast.server for forecast in forecasts if all(hour.source == "none" for hour in forecast.hours)]
    if unknown:
        click.echo(f"nothing is known of {', '.join(unknown)}: no load, or too new.", err=True)


def _first_hour(text: str) -> datetime | None:
    if not text:
        return None
    from workload_forecast.service.client_answers import utc_time

    try:
        return utc_time(text)
    except ValueError:
        raise SettingsError(f"--start '{text}' is no time like 2016-07-01T00:00 (UTC).") from None


_FILE = click.option("--keys", "file", default="", help=f"File of the keys; {KEYS_VARIABLE}.")


@click.group()
def keys() -> None:
    """Make, list, revoke and rotate the keys of the service."""


@keys.command()
@click.argument("name")
@click.option("--days", default=None, type=click.FLOAT, help="After which it expires; default: never.")
@_FILE
def create(name: str, days: float | None, file: str) -> None:
    """Make a key and show it, this once."""
    _show(*_keys(file).create(name, days))


@keys.command("list")
@_FILE
def list_keys(file: str) -> None:
    """List the keys by their prefixes; the keys themselves are kept nowhere."""
    found = _keys(file).all()
    rows = [("NAME", "PREFIX", "CREATED", "EXPIRES")]
    rows += [(key.name, key.prefix, key.created, key.expires or "never") for key in found]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows if found else []:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    if not found:
        click.echo(f"{key_file(file)} has no keys: make one with `workload-forecast keys create NAME`.", err=True)


@keys.command()
@click.argument("which")
@_FILE
def revoke(which: str, file: str) -> None:
    """Remove the key with a prefix, or all keys of a name; services follow within a second or two."""
    for key in _keys(file).revoke(which):
        click.echo(f"revoked {key.prefix} of {key.name}", err=True)


@keys.command()
@click.argument("which")
@click.option("--grace-hours", default=24.0, show_default=True, type=click.FLOAT, help="The old one opens until then.")
@click.option("--days", default=None, type=click.FLOAT, help="After which the new one expires; default: never.")
@_FILE
def rotate(which: str, grace_hours: float, days: float | None, file: str) -> None:
    """Make a new key in the place of the one with a prefix, or of all of a name."""
    _show(*_keys(file).rotate(which, grace_hours, days))


@keys.command()
@click.option("--url", default="", help="URL of the service; WORKLOAD_FORECAST_SERVICE_URL.")
def store(url: str) -> None:
    """Put a key, read from the terminal or the standard input, into this machine's key ring."""
    from workload_forecast.service.client_access import service_url, store_key

    address = service_url(url or None)
    key: str = click.prompt("Key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    store_key(address, key.strip())
    click.echo(f"the key ring has the key for {address}", err=True)


def _keys(file: str) -> Keys:
    from workload_forecast.service.keys import Keys

    return Keys(key_file(file))


def _show(key: Key, token: str) -> None:
    """The key alone on the standard output, so that a script can take it; what is to be known of it beside that."""
    click.echo(token)
    until = f"until {key.expires}" if key.expires else "until it is revoked"
    click.echo(f"key {key.prefix} of {key.name}, valid {until}; it is shown this once and kept nowhere.", err=True)

"""``workload-forecast target``: write, list, look at, prepare and remove compute targets."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from pydantic.alias_generators import to_camel

from workload_forecast.errors import SettingsError
from workload_forecast.targets import files

_FOLDER = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder of the files; default: ${files.FOLDER_VARIABLE}, else ./targets.",
)


def _no_password(ctx: click.Context, param: click.Parameter, value: str | None) -> None:  # noqa: ARG001  click's form
    if value is not None:
        raise click.UsageError(
            "passwords are not taken, because they would end up in files and in the history of the shell: "
            "put your key on the target once with `ssh-copy-id USER@ADDRESS`, then ssh's keys and agent log in."
        )


@click.group()
def target() -> None:
    """Compute targets: local Docker, remote Docker, Spark cluster, Databricks."""


@target.command()
@click.option("--name", required=True, help="What the target is called from now on.")
@click.option("--type", "type", required=True, type=click.Choice(files.TARGET_TYPES), help="Kind of target.")
@click.option("--address", help="Host name, IP address, or a Host of your ssh configuration.")
@click.option("--username", help="ssh user; default: what your ssh configuration says.")
@click.option("--port", type=click.IntRange(1, 65535), help="ssh port; default: what your ssh configuration says.")
@click.option("--identity-file", help="Private key that ssh shall use; default: ssh's own and its agent.")
@click.option("--ssh-config", help="ssh configuration to use instead of ~/.ssh/config.")
@click.option("--base-image", help="Docker: image to build on; default: that of docker/Dockerfile.")
@click.option("--shared-directory", help="Directory of the target that persists between runs.")
@click.option("--base-directory", help="Folder on the target for runs and environments.")
@click.option("--spark-master", help="Cluster: yarn or spark://HOST:PORT; default: the cluster's own.")
@click.option("--yarn-deploy-mode", type=click.Choice(["client", "cluster"]), help="Cluster: where the driver runs.")
@click.option("--python-location", help="Cluster: Python interpreter; default: search for one.")
@click.option("--spark-submit-location", help="Cluster: spark-submit; default: search for it.")
@click.option("--profile", help="Databricks: profile of its CLI.")
@click.option("--overwrite", is_flag=True, help="Write the compute file even if there is a different one.")
@click.option("--password", hidden=True, is_flag=False, flag_value="", expose_value=False, callback=_no_password)
@_FOLDER
def attach(folder: Path | None, overwrite: bool, **options: Any) -> None:
    """Write the compute file and a first run configuration of a target; nothing on the target is changed."""
    for name in ("identity_file", "ssh_config"):
        if options[name]:
            options[name] = _portable(options[name])
    compute = files.parse_target(
        {to_camel(name): value for name, value in options.items() if value is not None}, "attach"
    )
    folder = folder or files.targets_folder()
    compute_path = folder / f"{compute.name}{files.COMPUTE_SUFFIX}"
    configuration_path = folder / f"{compute.name}{files.RUN_CONFIGURATION_SUFFIX}"
    known = configuration_path.exists()
    if known and not _names(files.load_run_configuration(configuration_path).target, compute_path):
        raise SettingsError(
            f"{configuration_path} exists and is for another target: rename it, or take another --name."
        )
    click.echo(f"wrote {files.save(compute, compute_path, overwrite=overwrite)}")
    if not known:  # one that exists may have been edited: it stays as it is
        files.save(_first_configuration(compute), configuration_path)
    click.echo(f"{'kept' if known else 'wrote'} {configuration_path}")
    reference = compute.name if folder in files.targets_folders() else str(compute_path)
    click.echo(f"next: workload-forecast target show {shlex.quote(reference)}")


@target.command(name="list")
@_FOLDER
def list_(folder: Path | None) -> None:
    """List the targets and their run configurations."""
    folder = folder or files.targets_folder()
    paths = sorted(folder.glob(f"*{files.COMPUTE_SUFFIX}"))
    if not paths:
        click.echo(f"no targets in {folder}; write one with `workload-forecast target attach`")
        return
    rows, broken = [("NAME", "TYPE", "ADDRESS", "RUN CONFIGURATIONS")], []
    for path in paths:
        try:
            found = files.load_target(path)
        except SettingsError as problem:
            broken.append(str(problem))
            continue
        configurations = ", ".join(map(_short, _configurations(path))) or "-"
        rows.append((found.name, found.type, found.address or "-", configurations))
    _echo_table(rows)
    if broken:
        raise SettingsError(" ".join(broken))


@target.command()
@click.argument("name")
@_FOLDER
def show(name: str, folder: Path | None) -> None:
    """Look at a target: reachable? Engine, cores, memory, Java, Spark, disk."""
    found = files.load_target(_in_folder(name, folder, files.COMPUTE_SUFFIX))
    from workload_forecast.targets.inspect import show_target

    _echo_table(show_target(found))


@target.command()
@click.option("-c", "--configuration", "name", required=True, help="Run configuration: its name or path.")
@click.option(
    "--project",
    default=".",
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of MLproject.",
)
@_FOLDER
def prepare(name: str, project: Path, folder: Path | None) -> None:
    """Build the environment on the target ahead of the first run."""
    path = _in_folder(name, folder, files.RUN_CONFIGURATION_SUFFIX)
    configuration = files.load_run_configuration(path, project)
    from workload_forecast.targets.launch import prepare_environment

    click.echo(prepare_environment(configuration, project))


@target.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_FOLDER
def detach(name: str, yes: bool, folder: Path | None) -> None:
    """Remove the files of a target; what lies on the target itself stays."""
    path = files.find_file("compute", _in_folder(name, folder, files.COMPUTE_SUFFIX))
    if not path.name.endswith(files.COMPUTE_SUFFIX):
        raise SettingsError(f"{path} is not a compute file: give the name of a target or its NAME.compute.json.")
    if not path.is_file():
        raise SettingsError(f"{path} does not exist, so there is nothing to detach; `target list` names what there is.")
    doomed = [path, *_configurations(path)]
    if len(doomed) > 1 and not yes:
        click.echo("run configurations of this target:\n" + "\n".join(f"  {file}" for file in doomed[1:]))
        if not _confirmed("Remove them together with the target?"):
            click.echo("nothing was removed")
            return
    for file in doomed:
        try:
            file.unlink()
        except OSError as problem:
            raise SettingsError(f"{file} cannot be removed: {problem}.") from None
        click.echo(f"removed {file}")
    click.echo("nothing on the target itself was changed: its runs and environments stay there")


def _first_configuration(compute: files.ComputeTarget) -> files.RunConfiguration:
    """Return a run configuration in which the fields that people change first stand ready to be edited."""
    if compute.type == "databricks":  # whose settings stand in the file of the cluster
        return files.RunConfiguration(target=compute.name, cluster_spec=f"targets/{compute.name}.cluster.json")
    return files.RunConfiguration(
        target=compute.name, framework="auto", environment_variables={}, forward_variables=(), prepare_environment=True
    )


def _configurations(compute_path: Path) -> list[Path]:
    """Return the run configurations beside a target that name it; also those that do not load for another reason."""
    found = sorted(compute_path.parent.glob(f"*{files.RUN_CONFIGURATION_SUFFIX}"))
    return [path for path in found if _names(_target_of(path), compute_path)]


def _names(named: str, compute_path: Path) -> bool:
    if not named.endswith(".json"):
        return named == _short(compute_path)
    seen_from = (Path.cwd(), compute_path.absolute().parent.parent)  # where we are, and the project
    return compute_path.resolve() in [(base / Path(named).expanduser()).resolve() for base in seen_from]


def _target_of(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # of nobody's: `detach` must not remove it
        return ""
    named = content.get("target") if isinstance(content, dict) else None
    return named if isinstance(named, str) else ""


def _short(path: Path) -> str:
    return path.name.removesuffix(files.COMPUTE_SUFFIX).removesuffix(files.RUN_CONFIGURATION_SUFFIX)


def _in_folder(name: str, folder: Path | None, suffix: str) -> str:
    return str(folder / f"{_short(Path(name))}{suffix}") if folder else name


def _portable(path: str) -> str:
    """Return a path that holds in every working directory and, below the home, for every colleague."""
    absolute, home = Path(path).expanduser().absolute(), Path.home()
    return f"~/{absolute.relative_to(home).as_posix()}" if home in absolute.parents else str(absolute)


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question)
    except click.Abort:
        raise SettingsError("nothing was removed, because nobody said yes: answer, or add --yes.") from None


def _echo_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

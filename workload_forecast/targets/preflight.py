"""Seconds of questions before anything is launched, each with an answer and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from workload_forecast.errors import EnvironmentProblem
from workload_forecast.targets.contract import Check, Launcher
from workload_forecast.targets.data import DataPlan
from workload_forecast.targets.files import RunConfiguration
from workload_forecast.targets.hosts import Host, script
from workload_forecast.targets.places import Places
from workload_forecast.targets.tracking import check_reachable_from_here, check_tracking

#: What an environment takes on the target's disk: the project's image has about 2.5 GB, and needs twice that once.
_ENVIRONMENT_BYTES = 5 * 10**9
_MARGIN_BYTES = 10**9

_FREE = 'df -Pk -- "$1" | tail -n 1'
_MATCHES = 'shopt -s globstar; compgen -G "$1" >/dev/null'
_ANSWERS = """
if command -v curl >/dev/null; then
  curl --silent --insecure --head --max-time 15 --output /dev/null -- "$1"
else
  python3 -c 'import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="HEAD"), timeout=15)
except urllib.error.HTTPError:
    pass' "$1" 2>/dev/null
fi
"""


def preflight(
    launcher: Launcher,
    configuration: RunConfiguration,
    project: Path,
    places: Places,
    data: DataPlan,
    *,
    tracking_uri: str,
    artifact_location: str,
) -> Iterator[Check]:
    """Yield the checks one after the other. The connection itself has been made: ``places`` come from there."""
    host = launcher.host
    yield Check("connection", True, host.label)
    own = list(launcher.checks(configuration, project))
    yield from own
    if not all(check.passed for check in own):
        return  # what follows would only say the same in other words
    yield check_reachable_from_here(tracking_uri)
    yield from check_tracking(tracking_uri, artifact_location, host, contained=launcher.contained)
    prepared = launcher.prepared(configuration, project, places.base)
    if prepared is None and not configuration.prepare_environment:
        remedy = "workload-forecast target prepare -c CONFIG, or set prepareEnvironment to true"
        yield Check("environment", False, "not prepared", remedy)
    needed = data.bytes + _MARGIN_BYTES + (0 if prepared else _ENVIRONMENT_BYTES)
    yield _disk(host, places.base, needed)
    if data.on_target:
        found = script(host, _MATCHES, data.on_target).code == 0
        remedy = "correct dataFile, bring the data there, or say data: launcher"
        yield Check(
            "data", found, data.on_target if found else f"no file on {host.label} matches {data.on_target}", remedy
        )
    if data.service:
        # through a proxy too, where the machine has one; any answer will do, because the job has the credentials
        reached = script(host, _ANSWERS, data.service, seconds=30).code == 0
        answer = data.service if reached else f"{data.service} does not answer {host.label}"
        yield Check("data", reached, answer, "correct the storage account, or look at the target's network and proxy")


def demand(checks: Iterator[Check]) -> list[Check]:
    """Return all checks, if all pass.

    Raises:
        EnvironmentProblem: with a line for every one that does not.
    """
    done = list(checks)
    failed = [f"{check.name}: {check.found}; {check.remedy}" for check in done if not check.passed]
    if failed:
        raise EnvironmentProblem("nothing was launched. " + " | ".join(failed) + ".")
    return done


def _disk(host: Host, folder: str, needed: int) -> Check:
    fields = script(host, _FREE, folder).output.split()
    free = int(fields[3]) * 1024 if len(fields) > 3 and fields[3].isdigit() else 0
    found = f"{free / 1e9:.1f} GB free in {folder}, {needed / 1e9:.1f} GB needed"
    return Check("disk", free >= needed, found, "make room, or choose another baseDirectory")

"""What ``target show`` tells about a target."""

from __future__ import annotations

from workload_forecast.errors import WorkloadForecastError
from workload_forecast.targets.files import ComputeTarget
from workload_forecast.targets.hosts import Host, script
from workload_forecast.targets.places import find_places, open_launcher

_FREE = 'df -Ph -- "$1" | tail -n 1'


def show_target(target: ComputeTarget) -> list[tuple[str, str]]:
    """Return facts about a target: reachable or not, engine, cores, memory, disk, what has been prepared."""
    launcher = open_launcher(target)
    rows = [("name", target.name), ("type", target.type), ("address", launcher.host.label)]
    try:
        places = find_places(target, launcher.host)
        rows.append(("reachable", "yes"))
        rows += launcher.facts().items()
        rows.append(("folder", places.base))
        if places.shared:
            rows.append(("shared directory", places.shared))
        rows.append(("disk", _disk(launcher.host, places.base)))
    except WorkloadForecastError as problem:
        rows.append(("problem", str(problem)))
    return rows


def _disk(host: Host, folder: str) -> str:
    fields = script(host, _FREE, folder).output.split()
    return f"{fields[3]} free of {fields[1]}" if len(fields) > 3 else "unknown"

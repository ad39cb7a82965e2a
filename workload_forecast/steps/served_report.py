"""The newest forecast's report, from the run that made it into the exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from workload_forecast.errors import SettingsError
from workload_forecast.service.exchange import Exchange, ServedReport
from workload_forecast.steps.forecast_report import ARTIFACTS, REPORT_FILE
from workload_forecast.steps.runs import TAG, parameter
from workload_forecast.steps.served_model import scratch_in
from workload_forecast.storage.local import read_info

#: Finished forecast runs that are looked at, newest first.
_RUNS = 200


@dataclass(frozen=True)
class ReportSource:
    """Brings the newest report of a model into the exchange, when it is another one than before.

    The newest is that of the newest origin, and of these that of the run that began last: a forecast ``as_of`` a time
    long ago is looked at by whoever made it, not by everybody. That there is none is nothing wrong.

    Attributes:
        exchange: to put it into.
        model: name of the registered model.
        home: of the results on this machine.
        say: is told of a new one.
    """

    exchange: Exchange
    model: str
    home: Path
    say: Callable[[str], None]

    def look(self) -> None:
        """Look for it, and take what is new.

        Raises:
            MlflowException: the tracking store does not answer.
        """
        served = None
        with suppress(SettingsError):  # a note that is none is replaced
            served = self.exchange.report()
        for run in self._runs():
            tags = run.data.tags
            key, version, origin = (tags.get(TAG + name, "") for name in ("key", "model_version", "origin"))
            if served and served.key == key and (self.exchange.folder / served.path).is_file():
                return
            with scratch_in(self.exchange) as scratch:
                file = self._local(run) or _artifact(run, scratch)
                if file is None:
                    continue  # a forecast from before there were reports, or one whose files are gone
                fetched = datetime.now(timezone.utc).isoformat(timespec="seconds")
                self.exchange.put_report(ServedReport(key, self.model, version, origin, fetched), file)
            self.say(f"follower: the report of the forecast after {origin} is handed to the service")
            return

    def _runs(self) -> Iterator[Run]:
        client = MlflowClient()
        runs = client.search_runs(
            [experiment.experiment_id for experiment in client.search_experiments()],
            f"tags.`{TAG}step` = 'forecast' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            max_results=_RUNS,
        )
        own = [run for run in runs if parameter(run, "model") == self.model]
        yield from sorted(own, key=lambda run: run.data.tags.get(f"{TAG}origin", ""), reverse=True)

    def _local(self, run: Run) -> Path | None:
        key, result = run.data.tags.get(f"{TAG}key", ""), run.data.tags.get(f"{TAG}result", "")
        for folder in (Path(result), self.home / "forecast" / key):
            info = read_info(folder)
            if info and info.get("key") == key and (folder / REPORT_FILE).is_file():
                return folder / REPORT_FILE
        return None


def _artifact(run: Run, scratch: Path) -> Path | None:
    """Fetch the report from the artifacts of the run that made it: one that was answered from another has none."""
    client, maker = MlflowClient(), run.data.tags.get(f"{TAG}reused_run", run.info.run_id)
    path = f"{ARTIFACTS}/{REPORT_FILE}"
    if path not in {item.path for item in client.list_artifacts(maker, ARTIFACTS)}:
        return None
    return Path(client.download_artifacts(maker, path, str(scratch)))

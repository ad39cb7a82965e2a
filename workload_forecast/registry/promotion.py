"""Which version serves: the aliases ``champion`` and ``previous``, MLflow's stages beside them, who moved them and why.

The alias ``champion`` is the truth. Stages are deprecated in MLflow 3 but still what many look at; they follow the
alias where the registry has them. The registry has no transactions, so that moves are made one after the other under a
lock that the registry itself keeps: making a registered model of a given name succeeds for one client only.
"""

from __future__ import annotations

import json
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from workload_forecast.errors import ModelError

CHAMPION, PREVIOUS = "champion", "previous"
#: Tag of a version with the last decision about it, as JSON.
DECISION = "workload_forecast.decision"
#: Seconds after which a lock's holder is taken for dead; a move takes seconds.
STALE_SECONDS = 300.0
_HOLDER = "workload_forecast.holder"


class OvertakenError(ModelError):
    """Another version has become the champion since the comparison: compare again."""


@dataclass(frozen=True)
class Decision:
    """What was decided about a version, by whom and why; it is kept with the version.

    Attributes:
        action: ``promoted``, ``refused``, ``rolled back`` (to this version) or ``withdrawn`` (it served, and the one
            before it was taken back).
        version: it is about.
        champion: the version that served when it was decided; empty if none did.
        by: the user's name.
        why: one line.
        at: time, UTC.
        numbers: what was measured for it.
        run: MLflow's run that holds the whole table of checks.
    """

    action: str
    version: str
    champion: str
    by: str
    why: str
    at: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    run: str = ""

    def as_json(self) -> str:
        """Return it as a tag's value, with the time of now where none is given."""
        at = self.at or datetime.now(timezone.utc).isoformat(timespec="seconds")
        return json.dumps({**asdict(self), "at": at})


def read_decision(version: ModelVersion) -> Decision | None:
    """Return the last decision about a version; None if there was none."""
    text = version.tags.get(DECISION)
    if text is None:
        return None
    try:
        return Decision(**json.loads(text))
    except (ValueError, TypeError):  # of another version of this project, or set by hand
        return Decision("decided on", str(version.version), "", "", f"the tag {DECISION} has a form that is not known")


def version_of(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """Return the version that an alias names, or None where there is no such alias or model."""
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as problem:
        if problem.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise


def find_version(client: MlflowClient, name: str, version: str = "") -> ModelVersion:
    """Return a version by its number, or the newest one.

    Raises:
        ModelError: there is none.
    """
    versions = {str(found.version): found for found in client.search_model_versions(f"name='{name}'")}
    if not versions:
        raise ModelError(f"no version of {name} is registered: train one first (-e train).")
    if version and version not in versions:
        known = ", ".join(sorted(versions, key=int))
        raise ModelError(f"{name} has no version {version}: it has {known}.")
    return versions[version or max(versions, key=int)]


def record(client: MlflowClient, name: str, decision: Decision) -> None:
    """Keep a decision with the version that it is about."""
    client.set_model_version_tag(name, decision.version, DECISION, decision.as_json())


def promote(client: MlflowClient, name: str, decision: Decision, patience_s: float = 60.0) -> None:
    """Make a version the champion; the one that was it becomes the previous one. Doing it again completes it.

    Args:
        client: of the registry.
        name: of the registered model.
        decision: to promote; ``champion`` is the one that the version was compared with.
        patience_s: how long another move is waited for.

    Raises:
        OvertakenError: another champion has come meanwhile.
        ModelError: somebody else's move does not end.
    """
    with moving(client, name, patience_s):
        champion = version_of(client, name, CHAMPION)
        now = str(champion.version) if champion else ""
        if now not in {decision.champion, decision.version}:
            raise OvertakenError(
                f"version {now or 'none'} of {name} has become the champion since version {decision.version} was "
                f"compared with {decision.champion or 'none'}: promote it again."
            )
        _move(client, name, decision, now)


def complete(client: MlflowClient, name: str, patience_s: float = 60.0) -> None:
    """Give the champion its stage, in case the move that made it the champion was broken off before that."""
    with moving(client, name, patience_s):
        champion = version_of(client, name, CHAMPION)
        if champion is not None:
            _set_stages(client, name, str(champion.version))


def roll_back(
    client: MlflowClient, name: str, by: str, why: str, run: str = "", patience_s: float = 60.0, *, instead_of: str = ""
) -> Decision:
    """Make the previous champion the champion again; the one that was it becomes the previous one.

    Args:
        client: of the registry.
        name: of the registered model.
        by, why, run: see :class:`Decision`.
        patience_s: how long another move is waited for.
        instead_of: the champion that is meant; empty: whichever it is.

    Raises:
        OvertakenError: another one is the champion by now.
        ModelError: there is no previous one, or somebody else's move does not end.
    """
    with moving(client, name, patience_s):
        champion, previous = (version_of(client, name, alias) for alias in (CHAMPION, PREVIOUS))
        if champion is None or previous is None or champion.version == previous.version:
            raise ModelError(f"{name} has no previous champion to go back to: promote a version by its number instead.")
        if instead_of not in {"", str(champion.version)}:
            raise OvertakenError(f"version {champion.version} of {name} has become the champion meanwhile.")
        decision = Decision("rolled back", str(previous.version), str(champion.version), by, why, run=run)
        record(client, name, replace(decision, action="withdrawn", version=str(champion.version)))
        _move(client, name, decision, str(champion.version))
    return decision


def _move(client: MlflowClient, name: str, decision: Decision, champion: str) -> None:
    """The steps of a move, in an order that leaves a champion whenever they are broken off."""
    record(client, name, decision)
    if champion and champion != decision.version:
        client.set_registered_model_alias(name, PREVIOUS, champion)
    client.set_registered_model_alias(name, CHAMPION, decision.version)
    _set_stages(client, name, decision.version)


def _set_stages(client: MlflowClient, name: str, version: str) -> None:
    """Production for the champion, archived for what was there before; nothing where there are no stages any more."""
    transition = getattr(client, "transition_model_version_stage", None)
    if transition is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            transition(name, version, "Production", archive_existing_versions=True)
        except MlflowException as problem:  # a registry without stages, like Unity Catalog's
            if problem.error_code not in {"NOT_IMPLEMENTED", "ENDPOINT_NOT_FOUND", "BAD_REQUEST"}:
                raise


@contextmanager
def moving(client: MlflowClient, name: str, patience_s: float = 60.0) -> Iterator[None]:
    """Hold the model's lock, for all clients of the registry on whatever machine.

    Raises:
        ModelError: somebody else holds it for longer than ``patience_s``.
    """
    lock, holder = f"{name}.moving", uuid.uuid4().hex
    until = time.monotonic() + patience_s
    while not _take(client, lock, holder):
        if time.monotonic() > until:
            raise ModelError(
                f"somebody else has been moving {name} for {patience_s:.0f} s: try again, or delete the registered "
                f"model {lock} if nobody is."
            )
        time.sleep(0.5)
    try:
        yield
    finally:
        _release(client, lock, holder)


def _take(client: MlflowClient, lock: str, holder: str) -> bool:
    try:
        client.create_registered_model(lock, {_HOLDER: holder}, "A promotion is under way; this goes away by itself.")
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        _free_if_stale(client, lock)
        return False
    return True


def _release(client: MlflowClient, lock: str, holder: str) -> None:
    """Delete the lock, unless it was taken for stale and is somebody else's by now."""
    try:
        if client.get_registered_model(lock).tags.get(_HOLDER) == holder:
            client.delete_registered_model(lock)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _free_if_stale(client: MlflowClient, lock: str) -> None:
    try:
        found = client.get_registered_model(lock)
        if time.time() - found.creation_timestamp / 1000 > STALE_SECONDS:
            client.delete_registered_model(lock)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_DOES_NOT_EXIST":  # its holder has just let go
            raise

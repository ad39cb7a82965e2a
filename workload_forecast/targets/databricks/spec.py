"""The cluster/job specification of a Databricks run: one JSON file, without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workload_forecast.errors import SettingsError
from workload_forecast.targets.files import looks_secret

_SECRET_REFERENCE = re.compile(r"\{\{secrets/[^/]+/[^/]+\}\}")


@dataclass(frozen=True)
class ClusterSpec:
    """A cluster/job specification: exactly one of a new cluster's fields and an existing cluster's id.

    Attributes:
        new_cluster: fields of the Jobs API's ``new_cluster``; empty for an existing cluster.
        existing_cluster_id: empty for a new cluster.
        libraries: the Jobs API's ``libraries``, installed on the cluster before the run.
        timeout_seconds: the run is stopped after so many seconds; 0 is never. Only for existing clusters.
    """

    new_cluster: Mapping[str, Any] = field(default_factory=dict)
    existing_cluster_id: str = ""
    libraries: Sequence[Mapping[str, Any]] = ()
    timeout_seconds: int = 0

    @classmethod
    def from_document(cls, document: object, source: str) -> ClusterSpec:
        """Check a document; ``source`` names it in errors.

        Raises:
            SettingsError: not an object, both or neither kind of cluster, a field that would be ignored, a secret.
        """
        if not isinstance(document, dict) or not document:
            raise SettingsError(f"{source}: a JSON object with 'new_cluster' or 'existing_cluster_id' is wanted")
        if "existing_cluster_id" in document:
            known = {"existing_cluster_id", "libraries", "timeout_seconds"}
            if "new_cluster" in document or "spark_version" in document:
                raise SettingsError(f"{source}: names both a new cluster and 'existing_cluster_id'; keep one of them")
        elif "new_cluster" in document:
            known = {"new_cluster", "libraries"}  # all that MLflow's backend looks at
        elif "spark_version" in document:
            document, known = {"new_cluster": document}, {"new_cluster"}
        else:
            raise SettingsError(f"{source}: names neither 'new_cluster' nor 'existing_cluster_id'; add one of them")
        if unknown := sorted(set(document) - known):
            raise SettingsError(
                f"{source}: {', '.join(unknown)} would be ignored; known here: {', '.join(sorted(known))}"
            )
        spec = cls(
            new_cluster=_typed(document, "new_cluster", dict, source),
            existing_cluster_id=_typed(document, "existing_cluster_id", str, source),
            libraries=_typed(document, "libraries", list, source),
            timeout_seconds=_typed(document, "timeout_seconds", int, source),
        )
        if "existing_cluster_id" in document and not spec.existing_cluster_id.strip():
            raise SettingsError(f"{source}: 'existing_cluster_id' is empty; give the id from the cluster's page")
        refuse_secrets(spec.new_cluster.get("spark_env_vars", {}), f"{source}, spark_env_vars")
        return spec

    @property
    def existing(self) -> bool:
        """Whether the run goes to a cluster that is there already."""
        return bool(self.existing_cluster_id)


def _typed(document: Mapping[str, Any], name: str, wanted: type, source: str) -> Any:
    value = document.get(name, wanted())
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise SettingsError(f"{source}: '{name}' must be a JSON {wanted.__name__}, not {type(value).__name__}")
    return value


def refuse_secrets(variables: Mapping[str, str], source: str) -> None:
    """Refuse variables whose name looks like a secret's, unless the value refers to a Databricks secret scope.

    Raises:
        SettingsError: names the variable, never its value.
    """
    for name, value in variables.items():
        if looks_secret(name) and not _SECRET_REFERENCE.fullmatch(str(value)):
            raise SettingsError(
                f"{source}: {name} looks like a secret; keep it in a Databricks secret scope and "
                "set {{secrets/<scope>/<key>}} in the cluster's spark_env_vars"
            )


def read_cluster_spec(path: Path) -> ClusterSpec:
    """Read a cluster/job specification.

    Raises:
        SettingsError: the file is missing, is not JSON, or :meth:`ClusterSpec.from_document` refuses it.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"cluster specification {path} does not exist; see docs/databricks.md for one") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"cluster specification {path} is not valid JSON: {error}") from None
    return ClusterSpec.from_document(document, str(path))

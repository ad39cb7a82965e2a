"""The Kubernetes manifests: rendered with kubectl, valid for Kubernetes' own schemas, and as safe as they say."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.targets.machines.process import MachineError, check, which
from tests.targets.manifests import Document, of, problems
from workload_forecast.cli import cli
from workload_forecast.config import load_settings
from workload_forecast.service_commands import ALIAS, MODEL

pytestmark = pytest.mark.targets

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
#: From the oldest that has all that is used (metrics of single containers) to the newest of the schemas.
VERSIONS = ("1.27", "1.30", "1.33", kubernetes_validate.latest_version().rpartition(".")[0])
RENDERED = ("base", "overlays/example")


def kubectl() -> str:
    program = which("kubectl")
    if not program:
        raise MachineError("kubectl is not installed: run tests/targets/machines/install.sh as root")
    return program


def render(part: str, folder: Path) -> list[Document]:
    """The documents of a folder of kustomize's, in a copy of the manifests."""
    copied = folder / "kubernetes"
    shutil.copytree(FOLDER, copied)
    version = json.loads(check([kubectl(), "version", "--client", "--output", "json"]))["clientVersion"]
    if int(version["minor"].rstrip("+")) < 21:  # Debian 12: a kustomize that has a list of its own for folders
        for path in copied.glob("overlays/*/kustomization.yaml"):
            text = path.read_text()
            path.write_text(text.replace("  - ../../base\n", "") + "bases: [../../base]\n")
    return list(yaml.safe_load_all(check([kubectl(), "kustomize", str(copied / part)])))


@pytest.fixture(scope="module", params=RENDERED)
def documents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    return render(request.param, tmp_path_factory.mktemp("manifests"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    return render("base", tmp_path_factory.mktemp("base"))


def one(documents: list[Document], kind: str) -> Document:
    [found] = of(documents, kind)
    return found


def pod(documents: list[Document]) -> Document:
    spec: Document = one(documents, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(documents: list[Document], name: str) -> Document:
    [found] = [part for part in pod(documents)["containers"] if part["name"] == name]
    part: Document = found
    return part


def validate(documents: list[Document], version: str) -> set[str]:
    """The versions whose schemas were used; a field that they do not know is an error too."""
    return {kubernetes_validate.validate(document, version, strict=True) for document in documents}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_is_valid(documents: list[Document], version: str) -> None:
    assert validate(documents, version) == {version}


def test_no_rule_of_ours_is_broken(documents: list[Document]) -> None:
    assert problems(documents) == []


def test_settings_are_ones_that_the_follower_takes(documents: list[Document], tmp_path: Path) -> None:
    [profile] = [config["data"] for config in of(documents, "ConfigMap") if "settings.json" in config["data"]]
    (tmp_path / "settings.json").write_text(profile["settings.json"])
    settings = load_settings(None, tmp_path / "settings.json")
    assert settings.storage_account, "from another machine's results there is no other way"


def test_the_command_line_takes_what_the_containers_are_given(documents: list[Document]) -> None:
    values = {name: value for config in of(documents, "ConfigMap") for name, value in config["data"].items()}
    parsed = {}
    for part in pod(documents)["containers"]:
        name, *given = (re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], word) for word in part["args"])
        parsed[part["name"]] = cli.commands[name].make_context(name, given).params
    assert (parsed["service"]["port"], parsed["service"]["follow"]) == (8080, False)
    assert (parsed["follower"]["model"], parsed["follower"]["alias"]) == (MODEL, ALIAS)
    assert parsed["follower"]["interval"] == 5.0


def test_the_example_changes_what_an_installation_has_of_its_own(tmp_path: Path) -> None:
    example = render("overlays/example", tmp_path)
    assert {document["metadata"].get("namespace") for document in example} == {None, "workload-forecast"}
    images = {part["image"] for part in pod(example)["containers"]}
    assert len(images) == 1, "service and follower are of one version"
    assert ":" in images.pop().rpartition("/")[2]
    [settings] = [config["data"] for config in of(example, "ConfigMap") if "MLFLOW_TRACKING_URI" in config["data"]]
    assert settings["MLFLOW_TRACKING_URI"] == "http://tracking.mlflow.svc.cluster.local:5000"
    assert settings["MODEL_ALIAS"] == "champion", "what the example does not name stays"
    labels = one(example, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_secrets_are_in_no_file() -> None:
    for path in FOLDER.rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            assert document["kind"] != "Secret", path
            assert "secretGenerator" not in document, path


Change = Callable[[list[Document]], Any]

#: Mistakes that Kubernetes' schemas must find.
INVALID: dict[str, Change] = {
    "a misspelt field": lambda d: container(d, "service").update(readinesProbe={}),
    "a field of another kind": lambda d: one(d, "PodDisruptionBudget")["spec"].update(minReplicas=1),
    "a text for a number": lambda d: one(d, "HorizontalPodAutoscaler")["spec"].update(minReplicas="two"),
    "a missing field": lambda d: one(d, "Deployment")["spec"].pop("selector"),
    "an argument that is a number": lambda d: container(d, "service")["args"].append(8080),
    "a version that is gone": lambda d: one(d, "PodDisruptionBudget").update(apiVersion="policy/v1beta1"),
}

#: Mistakes that are valid, and what is said of them.
UNSAFE: dict[str, tuple[Change, str]] = {
    "no limits": (lambda d: container(d, "follower").pop("resources"), "follower: cpu is requested as None"),
    "more memory": (
        lambda d: [container(d, "service")["resources"][p].update(memory="2Gi") for p in ("limits", "requests")],
        "a pod has",
    ),
    "root": (lambda d: pod(d)["securityContext"].pop("runAsUser"), "pods run as"),
    "a writable root": (
        lambda d: container(d, "service")["securityContext"].update(readOnlyRootFilesystem=False),
        "service: readOnlyRootFilesystem is not True",
    ),
    "capabilities": (lambda d: container(d, "service")["securityContext"].pop("capabilities"), "has capabilities"),
    "no seccomp": (lambda d: pod(d)["securityContext"].pop("seccompProfile"), "no seccomp profile"),
    "a token": (lambda d: pod(d).pop("automountServiceAccountToken"), "get a token"),
    "a folder of the host": (lambda d: pod(d)["volumes"].append({"name": "h", "hostPath": {"path": "/"}}), "volume h"),
    "no bound": (lambda d: pod(d)["volumes"][0].update(emptyDir={}), "writes without bounds"),
    "credentials for the service": (
        lambda d: container(d, "service").update(envFrom=[{"secretRef": {"name": "workload-forecast-credentials"}}]),
        "service has credentials",
    ),
    "a password": (
        lambda d: container(d, "follower")["env"].append({"name": "MLFLOW_TRACKING_PASSWORD", "value": "x"}),
        "the value of MLFLOW_TRACKING_PASSWORD",
    ),
    "a secret": (
        lambda d: d.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}}),
        "a Secret with its content",
    ),
    "another label": (
        lambda d: one(d, "Service")["spec"]["selector"].update(x="y"),
        "Service workload-forecast selects",
    ),
    "a lost setting": (
        lambda d: [config["data"].pop("MODEL_NAME", "") for config in of(d, "ConfigMap")],
        "follower: nothing sets MODEL_NAME",
    ),
    "one pod": (lambda d: one(d, "HorizontalPodAutoscaler")["spec"].update(minReplicas=1), "less than two pods"),
    "two who count": (lambda d: one(d, "Deployment")["spec"].update(replicas=2), "both set the number"),
    "a gap in updates": (
        lambda d: one(d, "Deployment")["spec"]["strategy"].update(rollingUpdate={"maxUnavailable": 1}),
        "takes pods away",
    ),
    "no time to end": (lambda d: pod(d).update(terminationGracePeriodSeconds=30), "no time to finish"),
    "no pause before the end": (lambda d: container(d, "service").pop("lifecycle"), "no time to finish"),
    "readiness without a model": (
        lambda d: container(d, "service")["readinessProbe"]["httpGet"].update(path="/ping"),
        "readinessProbe asks",
    ),
    "another port": (lambda d: container(d, "service")["ports"][0].update(containerPort=80), "at another port"),
    "any port from outside": (lambda d: one(d, "NetworkPolicy")["spec"]["ingress"][0].pop("ports"), "more than HTTP"),
    "out to anything": (lambda d: one(d, "NetworkPolicy")["spec"]["egress"].append({}), "goes out anywhere"),
    "out to the metadata": (
        lambda d: one(d, "NetworkPolicy")["spec"]["egress"][1]["to"][0]["ipBlock"].pop("except"),
        "metadata address",
    ),
    "open to the inside": (lambda d: one(d, "NetworkPolicy")["spec"].update(policyTypes=["Egress"]), "is closed"),
    "no policy": (lambda d: d.remove(one(d, "NetworkPolicy")), "there is no NetworkPolicy"),
}


@pytest.mark.parametrize("mistake", INVALID)
def test_a_mistake_is_refused_by_the_schemas(base: list[Document], mistake: str) -> None:
    changed = copy.deepcopy(base)
    INVALID[mistake](changed)
    with pytest.raises((kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError)):
        validate(changed, VERSIONS[-1])


@pytest.mark.parametrize("mistake", UNSAFE)
def test_what_is_valid_and_wrong_is_said(base: list[Document], mistake: str) -> None:
    change, said = UNSAFE[mistake]
    changed = copy.deepcopy(base)
    change(changed)
    assert said in "\n".join(problems(changed))


def test_a_wrong_kustomization_does_not_render(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    (tmp_path / "kubernetes" / "base" / "service.yaml").unlink()
    command = [kubectl(), "kustomize", str(tmp_path / "kubernetes" / "base")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "service.yaml" in done.stderr

"""What the Kubernetes manifests must say beyond being valid; each rule gives a line for everything that breaks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from workload_forecast.targets.redaction import looks_secret

Document = dict[str, Any]
Rule = Callable[[list[Document]], Iterator[str]]

#: What the requirements give a pod of the service, in cores and bytes.
CPU, MEMORY = 0.5, 2 * 2**30
#: Seconds in which the service answers what it has begun: `request_timeout_s` for the body, and again for the answer.
LONGEST_END = 61
UNITS = {"": 1.0, "m": 1e-3, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def problems(documents: list[Document]) -> list[str]:
    return [line for rule in RULES for line in rule(documents)]


def of(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def pods(documents: list[Document]) -> Iterator[Document]:
    """The specifications of pods."""
    for deployment in of(documents, "Deployment"):
        yield deployment["spec"]["template"]["spec"]


def containers(documents: list[Document]) -> Iterator[tuple[Document, Document]]:
    for pod in pods(documents):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield pod, container


def amount(text: object) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)(m|[KMG]i)?", str(text)).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit or ""]


def everything_is_there(documents: list[Document]) -> Iterator[str]:
    wanted = {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"}
    missing = wanted - {document["kind"] for document in documents}
    yield from (f"there is no {kind}" for kind in sorted(missing))


def no_secret_is_in_it(documents: list[Document]) -> Iterator[str]:
    yield from (f"a Secret with its content: {found['metadata']['name']}" for found in of(documents, "Secret"))
    for config in of(documents, "ConfigMap"):
        yield from (f"{name} in a ConfigMap" for name in config.get("data", {}) if looks_secret(name))
    for _, container in containers(documents):
        for variable in container.get("env", []):
            if "value" in variable and looks_secret(variable["name"]) and not variable["value"].startswith("/"):
                yield f"{container['name']}: the value of {variable['name']}"


def resources_are_bounded(documents: list[Document]) -> Iterator[str]:
    for pod in pods(documents):
        sums = {"cpu": 0.0, "memory": 0.0}
        for container in pod["containers"]:
            given = container.get("resources", {})
            for what in ("cpu", "memory", "ephemeral-storage"):
                request, limit = (given.get(part, {}).get(what) for part in ("requests", "limits"))
                if request is None or limit is None or amount(request) != amount(limit):
                    yield f"{container['name']}: {what} is requested as {request} and limited to {limit}"
                elif what in sums:
                    sums[what] += amount(limit)
        if sums != {"cpu": CPU, "memory": MEMORY}:
            yield f"a pod has {sums}"


def pods_are_restricted(documents: list[Document]) -> Iterator[str]:
    """As the Pod Security Standard of that name, and read-only."""
    for pod in pods(documents):
        if pod.get("automountServiceAccountToken") is not False:
            yield "pods get a token of the cluster"
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(field):
                yield f"pods use the {field}"
        user = pod.get("securityContext", {})
        if not user.get("runAsNonRoot") or not user.get("runAsUser") or not user.get("fsGroup"):
            yield f"pods run as {user}"
        if user.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield "pods have no seccomp profile"
        kinds = {"emptyDir", "configMap", "secret"}
        yield from (f"volume {v['name']} is of another kind" for v in pod["volumes"] if not kinds & set(v))
    for _, container in containers(documents):
        name, context = container["name"], container.get("securityContext", {})
        wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True}
        yield from (f"{name}: {key} is not {value}" for key, value in wanted.items() if context.get(key) is not value)
        if context.get("privileged") or context.get("runAsUser") == 0:
            yield f"{name} is privileged"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name} has capabilities"


def what_is_written_is_bounded(documents: list[Document]) -> Iterator[str]:
    for pod, container in containers(documents):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = container.get("volumeMounts", [])
        if "/tmp" not in {mount["mountPath"] for mount in mounts}:
            yield f"{container['name']} has no /tmp"
        for mount in mounts:
            volume = volumes.get(mount["name"], {})
            if not volume:
                yield f"{container['name']}: there is no volume {mount['name']}"
            elif not mount.get("readOnly") and "sizeLimit" not in volume.get("emptyDir", {}):
                yield f"{container['name']} writes without bounds to {mount['name']}"
            if "secret" in volume and (
                "subPath" in mount or amount(volume["secret"].get("defaultMode", 0o644)) > 0o440
            ):
                yield f"the secret {mount['name']} does not follow changes, or everybody can read it"


def only_the_follower_has_credentials(documents: list[Document]) -> Iterator[str]:
    for _, container in containers(documents):
        given = [source["secretRef"]["name"] for source in container.get("envFrom", []) if "secretRef" in source]
        given += [v["name"] for v in container.get("env", []) if "secretKeyRef" in v.get("valueFrom", {})]
        if bool(given) != (container["name"] == "follower"):
            yield f"{container['name']} has credentials: {given}"


def names_lead_somewhere(documents: list[Document]) -> Iterator[str]:
    maps = {config["metadata"]["name"] for config in of(documents, "ConfigMap")}
    accounts = {account["metadata"]["name"] for account in of(documents, "ServiceAccount")}
    for pod, container in containers(documents):
        used = [source["configMapRef"]["name"] for source in container.get("envFrom", []) if "configMapRef" in source]
        used += [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
        yield from (f"there is no ConfigMap {name}" for name in used if name not in maps)
        if pod.get("serviceAccountName") not in accounts:
            yield f"there is no account {pod.get('serviceAccountName')}"
        data = {name for config in of(documents, "ConfigMap") for name in config.get("data", {})}
        asked = {name for word in container["args"] for name in re.findall(r"\$\((\w+)\)", word)}
        yield from (f"{container['name']}: nothing sets {name}" for name in sorted(asked - data))


def selectors_find_the_pods(documents: list[Document]) -> Iterator[str]:
    [deployment] = of(documents, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    selectors = {"the Deployment": deployment["spec"]["selector"]["matchLabels"]}
    for document in of(documents, "Service"):
        selectors[f"Service {document['metadata']['name']}"] = document["spec"]["selector"]
    for kind, field in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for document in of(documents, kind):
            selectors[f"{kind} {document['metadata']['name']}"] = document["spec"][field].get("matchLabels", {})
    spread = deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", [])
    if {part["topologyKey"] for part in spread} != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
        yield "pods are not spread over zones and hosts"
    selectors |= {f"spread {part['topologyKey']}": part["labelSelector"]["matchLabels"] for part in spread}
    yield from (f"{who} selects {what}" for who, what in selectors.items() if not what or not what.items() <= labels)
    for scaler in of(documents, "HorizontalPodAutoscaler"):
        target, [metric] = scaler["spec"]["scaleTargetRef"], scaler["spec"]["metrics"]
        names = {container["name"] for container in deployment["spec"]["template"]["spec"]["containers"]}
        if target != {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}:
            yield f"what is scaled is {target}"
        if metric["containerResource"]["container"] not in names or scaler["spec"]["minReplicas"] < 2:
            yield "the autoscaler measures no container, or leaves less than two pods"
        if "replicas" in deployment["spec"]:
            yield "the Deployment and the autoscaler both set the number of pods"


def no_request_is_lost(documents: list[Document]) -> Iterator[str]:
    [deployment] = of(documents, "Deployment")
    if deployment["spec"]["strategy"].get("rollingUpdate", {}).get("maxUnavailable") != 0:
        yield "an update takes pods away before new ones are ready"
    for budget in of(documents, "PodDisruptionBudget"):
        if budget["spec"].get("maxUnavailable") != 1:
            yield "more than one pod may be drained at once, or none"
    pod = deployment["spec"]["template"]["spec"]
    [service] = [container for container in pod["containers"] if container["name"] == "service"]
    command = service.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    if not 5 <= int(command[1]) <= pod.get("terminationGracePeriodSeconds", 30) - LONGEST_END - 5:
        yield "the last requests have no time to finish"
    paths = {"startupProbe": "/ping", "livenessProbe": "/ping", "readinessProbe": "/health"}
    ports = {port["name"]: port["containerPort"] for port in service["ports"]}
    for probe, path in paths.items():
        asked = service.get(probe, {}).get("httpGet", {})
        if asked.get("path") != path or asked.get("port") not in ports:
            yield f"{probe} asks {asked}"
    if str(ports.get("http")) != service["args"][service["args"].index("--port") + 1]:
        yield "the service listens at another port"
    for document in of(documents, "Service"):
        yield from (
            f"there is no port {p['targetPort']}" for p in document["spec"]["ports"] if p["targetPort"] not in ports
        )


def the_network_is_closed(documents: list[Document]) -> Iterator[str]:
    policies = of(documents, "NetworkPolicy")
    closed = {kind for policy in policies for kind in policy["spec"]["policyTypes"]}
    if closed != {"Ingress", "Egress"}:
        yield f"only {sorted(closed)} is closed"
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            if [port.get("port") for port in rule.get("ports", [])] != ["http"]:
                yield "more than HTTP comes in"
        for rule in policy["spec"].get("egress", []):
            if not rule.get("to") or not all("port" in port for port in rule.get("ports", [{}])):
                yield "something goes out anywhere, or to any port"
            for block in (to["ipBlock"] for to in rule.get("to", []) if "ipBlock" in to):
                if block["cidr"] == "0.0.0.0/0" and "169.254.0.0/16" not in block.get("except", []):
                    yield "pods reach the metadata address of the cloud"


RULES: tuple[Rule, ...] = (
    everything_is_there,
    no_secret_is_in_it,
    resources_are_bounded,
    pods_are_restricted,
    what_is_written_is_bounded,
    only_the_follower_has_credentials,
    names_lead_somewhere,
    selectors_find_the_pods,
    no_request_is_lost,
    the_network_is_closed,
)

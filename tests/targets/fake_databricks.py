"""A Databricks workspace on loopback, for contract tests: it checks requests strictly and really runs what they start.

Fields are checked against the classes of Databricks' own SDK. A cluster is this machine: a job is a subprocess in whose
arguments ``/dbfs/`` (DBFS' mount) and ``/databricks/`` (the driver's disk) are replaced by folders. The tracking server
is MLflow's own application, answering inside this process.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "dapi-0123456789abcdef-of-the-fake"
CLUSTER = "0923-164208-meows279"


class Refused(Exception):
    """A request that the workspace does not take."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def _only(given: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise Refused(400, "INVALID_PARAMETER_VALUE", f"{where}: unknown fields {unknown}")


def _field_names(kind: Any) -> set[str]:
    return {each.name for each in fields(kind)}


@dataclass
class Request:
    method: str
    path: str
    body: bytes
    token: str


@dataclass
class Job:
    run_id: int
    cluster_id: str
    tasks: bool
    life_cycle: str = "PENDING"
    result: str = ""
    message: str = "Waiting for the cluster"
    logs: str = ""
    error: str = ""
    process: subprocess.Popen[str] | None = None
    thread: threading.Thread | None = None

    def answer(self, host: str) -> dict[str, Any]:
        state = {"life_cycle_state": self.life_cycle, "state_message": self.message}
        if self.result:
            state["result_state"] = self.result
        instance = {"cluster_id": self.cluster_id}
        common = {"state": state, "cluster_instance": instance}
        answer = {
            "run_id": self.run_id,
            "job_id": 11,
            "run_page_url": f"{host}/#job/11/run/{self.run_id}",
            "state": state,
        }
        if self.tasks:
            return {**answer, "tasks": [{"run_id": self.run_id + 1, "task_key": "task", **common}]}
        return {**answer, **common}


@dataclass
class FakeDatabricks:
    """Start with ``with``; ``folder`` holds DBFS and the driver's disk."""

    folder: Path
    runs: bool = True
    cluster_starts: bool = True
    requests: list[Request] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    jobs: dict[int, Job] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> FakeDatabricks:  # noqa: PYI034  Self needs Python 3.11
        from mlflow.server import app

        self.tracking = app.test_client()
        self.dbfs, self.disk = self.folder / "dbfs", self.folder / "databricks"
        self.dbfs.mkdir(parents=True)
        self.disk.mkdir()
        workspace = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, content = workspace.answer(
                    Request(self.command, self.path, body, self.headers.get("Authorization", ""))
                )
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_HEAD = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for job in self.jobs.values():
            self._kill(job)
        self.server.shutdown()
        self.server.server_close()

    def sent(self, ending: str) -> list[dict[str, Any]]:
        """Return the bodies of requests whose path ends so."""
        return [json.loads(each.body) for each in self.requests if urlsplit(each.path).path.endswith(ending)]

    def answer(self, request: Request) -> tuple[int, bytes]:
        path = urlsplit(request.path).path
        if path.startswith("/api/2.0/mlflow/") and request.token == f"Bearer {TOKEN}":
            answered = self.tracking.open(
                request.path, method=request.method, data=request.body, content_type="application/json"
            )
            return answered.status_code, answered.data
        if request.method == "HEAD":
            return 200, b""
        if path == "/.well-known/databricks-config":
            return 200, json.dumps({"oidc_endpoint": f"{self.host}/oidc", "workspace_id": "7"}).encode()
        self.requests.append(request)
        try:
            return 200, json.dumps(self._route(request, path)).encode()
        except Refused as refused:
            self.refusals.append(f"{request.method} {path}: {refused}")
            return refused.status, json.dumps({"error_code": refused.code, "message": str(refused)}).encode()

    def _route(self, request: Request, path: str) -> dict[str, Any]:  # noqa: C901, PLR0911  a case an endpoint
        if request.token != f"Bearer {TOKEN}":
            raise Refused(403, "PERMISSION_DENIED", "Invalid access token.")
        body = json.loads(request.body) if request.body and not path.startswith("/dbfs/") else {}
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        match request.method, re.sub(r"/api/2\.[0-9]", "", path):
            case "GET", "/clusters/spark-versions":
                return {"versions": [{"key": "16.4.x-scala2.12", "name": "16.4 LTS"}]}
            case "GET", "/clusters/get":
                return {"cluster_id": self._cluster(query["cluster_id"]), "state": "RUNNING"}
            case "GET", "/dbfs/get-status":
                if not (self.dbfs / body["path"].lstrip("/")).exists():
                    raise Refused(
                        404, "RESOURCE_DOES_NOT_EXIST", f"No file or directory exists on path {body['path']}."
                    )
                return {"path": body["path"], "is_dir": False}
            case "POST", upload if path == upload and upload.startswith("/dbfs/"):
                file = self.dbfs / upload.removeprefix("/dbfs/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(request.body)
                return {}
            case "POST", "/jobs/runs/submit":
                return self._submit(body, tasks=not path.startswith("/api/2.0/"))
            case "GET", "/jobs/runs/get":
                return self._job(query).answer(self.host)
            case "GET", "/jobs/runs/get-output" if path.startswith("/api/2.2/"):
                job = self._job({"run_id": str(int(query["run_id"]) // 2 * 2)})
                if job.tasks and query["run_id"] == str(job.run_id):
                    raise Refused(
                        400,
                        "INVALID_PARAMETER_VALUE",
                        "Retrieving the output of runs with multiple tasks is not supported",
                    )
                return {
                    "metadata": {},
                    **({"logs": job.logs} if job.tasks else {}),
                    **({"error": job.error} if job.error else {}),
                }
            case "POST", "/jobs/runs/cancel":
                _only(body, {"run_id"}, "cancel")
                self._cancel(self._job(body))
                return {}
        raise Refused(404, "ENDPOINT_NOT_FOUND", f"No API found for {request.method} {path}")

    def _cluster(self, cluster_id: str) -> str:
        if cluster_id != CLUSTER:
            raise Refused(400, "INVALID_PARAMETER_VALUE", f"Cluster {cluster_id} does not exist")
        return cluster_id

    def _job(self, given: Mapping[str, Any]) -> Job:
        if int(given["run_id"]) not in self.jobs:
            raise Refused(400, "INVALID_PARAMETER_VALUE", f"Run {given['run_id']} does not exist.")
        return self.jobs[int(given["run_id"])]

    def _submit(self, body: dict[str, Any], *, tasks: bool) -> dict[str, Any]:
        from databricks.sdk.service.jobs import JobsAPI, SubmitTask

        task = body
        if tasks:
            _only(body, set(inspect.signature(JobsAPI.submit).parameters) - {"self"}, "submit")
            if len(body.get("tasks", [])) != 1 or len(body.get("idempotency_token", "")) > 64:
                raise Refused(400, "INVALID_PARAMETER_VALUE", "one task, and a token of at most 64 characters")
            task = body["tasks"][0]
            _only(task, _field_names(SubmitTask), "task")
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", task.get("task_key", "")):
                raise Refused(400, "INVALID_PARAMETER_VALUE", "task_key")
        else:  # the documented fields of version 2.0, and the undocumented task that MLflow sends
            known = {
                "run_name",
                "new_cluster",
                "existing_cluster_id",
                "libraries",
                "timeout_seconds",
                "idempotency_token",
            }
            _only(body, {*known, "spark_python_task", "shell_command_task"}, "submit")
        if ("new_cluster" in task) == ("existing_cluster_id" in task):
            raise Refused(400, "INVALID_PARAMETER_VALUE", "exactly one of new_cluster and existing_cluster_id")
        token = body.get("idempotency_token", "")
        if token in self.tokens:
            return {"run_id": self.tokens[token]}
        run_id = 1000 + 2 * len(self.jobs)
        job = Job(run_id, self._checked_cluster(task), tasks)
        command, environment = self._command(task)
        self.jobs[run_id] = job
        if token:
            self.tokens[token] = run_id
        if not self.cluster_starts:
            job.life_cycle, job.message = "INTERNAL_ERROR", "Cluster was terminated. Reason: INVALID_ARGUMENT"
        elif self.runs:
            job.thread = threading.Thread(target=self._run, args=(job, command, environment), daemon=True)
            job.thread.start()
        return {"run_id": run_id}

    def _checked_cluster(self, task: Mapping[str, Any]) -> str:
        from databricks.sdk.service.compute import ClusterSpec, Library

        for library in task.get("libraries", []):
            _only(library, _field_names(Library), "library")
        if "existing_cluster_id" in task:
            return self._cluster(task["existing_cluster_id"])
        cluster = task["new_cluster"]
        _only(cluster, _field_names(ClusterSpec), "new_cluster")
        if not {"spark_version", "node_type_id", "num_workers"} <= set(cluster):
            raise Refused(400, "INVALID_PARAMETER_VALUE", "spark_version, node_type_id, num_workers")
        return "0101-000000-new1"

    def _command(self, task: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
        from databricks.sdk.service.jobs import SparkPythonTask

        if "shell_command_task" in task:
            _only(task["shell_command_task"], {"command", "env_vars"}, "shell_command_task")
            extra = task.get("new_cluster", {}).get("spark_env_vars", {})
            return task["shell_command_task"]["command"], {**extra, **task["shell_command_task"]["env_vars"]}
        python = task["spark_python_task"]
        _only(python, _field_names(SparkPythonTask), "spark_python_task")
        file, parameters = python["python_file"], python.get("parameters", [])
        if not file.startswith("dbfs:/") or not (self.dbfs / file.removeprefix("dbfs:/")).is_file():
            raise Refused(400, "INVALID_PARAMETER_VALUE", f"python_file {file}")
        if any(not isinstance(each, str) or "{{" in each for each in parameters):
            raise Refused(400, "INVALID_PARAMETER_VALUE", "parameters")
        return [sys.executable, file.replace("dbfs:/", "/dbfs/"), *parameters], {}

    def _run(self, job: Job, command: list[str], environment: Mapping[str, str]) -> None:
        here = [each.replace("/dbfs/", f"{self.dbfs}/").replace("/databricks/", f"{self.disk}/") for each in command]
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        cluster = {
            "PATH": path,
            "HOME": str(self.disk),
            "DATABRICKS_HOST": self.host,
            "DATABRICKS_TOKEN": TOKEN,
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.disk),
        }
        disable = {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
        job.process = subprocess.Popen(
            here,
            env={**cluster, **disable, **environment},
            cwd=self.disk,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        job.life_cycle, job.message = "RUNNING", "In run"
        job.logs = job.process.communicate()[0]
        if job.result != "CANCELED":
            job.result = "FAILED" if job.process.returncode else "SUCCESS"
            job.message = "Workload failed, see run output for details" if job.process.returncode else ""
            job.error = job.logs.strip().splitlines()[-1] if job.process.returncode else ""
        job.life_cycle = "TERMINATED"

    def _cancel(self, job: Job) -> None:
        if job.life_cycle not in {"TERMINATED", "INTERNAL_ERROR"}:
            job.result, job.message = "CANCELED", "Run cancelled."
            if job.process is None:
                job.life_cycle = "TERMINATED"
            self._kill(job)

    def _kill(self, job: Job) -> None:
        if job.process is not None and job.process.poll() is None:
            os.killpg(job.process.pid, signal.SIGKILL)
        if job.thread is not None:
            job.thread.join()

"""What the service's Dockerfile and its health check promise, without an engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from workload_forecast.service.exchange import Exchange, FollowerState
from workload_forecast.targets.redaction import looks_secret

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker" / "service.Dockerfile").read_text(encoding="utf-8")
HEALTH = ROOT / "docker" / "service" / "health.py"


def instructions() -> list[tuple[str, str]]:
    lines = "\n".join(line for line in TEXT.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines).splitlines()
    return [(line.split(None, 1)[0].upper(), line.split(None, 1)[1]) for line in joined]


def test_both_stages_have_the_base_image_that_is_named() -> None:
    found = instructions()
    assert found[0] == ("ARG", "BASE_IMAGE=python:3.11-slim-bookworm")
    assert [line for name, line in found if name == "FROM"] == ["${BASE_IMAGE} AS builder", "${BASE_IMAGE}"]


def test_the_last_stage_runs_as_a_number_and_installs_nothing() -> None:
    found = instructions()
    last = found[[number for number, (name, _) in enumerate(found) if name == "FROM"][-1] :]
    assert [line for name, line in last if name == "USER"] == ["10001:10001"]
    assert not [line for name, line in last if name == "RUN" and "install" in line]
    assert [name for name, _ in last if name in {"HEALTHCHECK", "ENTRYPOINT", "CMD", "VOLUME"}]
    assert not [line for _, line in last if "curl" in line or "apt-get" in line]


def test_nothing_needs_buildkit_and_no_secret_can_be_given() -> None:
    assert not re.search(r"^#\s*syntax\s*=|<<|--mount=", TEXT, re.MULTILINE)
    names = re.findall(r"^ARG (\w+)", TEXT, re.MULTILINE) + re.findall(r"(\w+)=", " ".join(TEXT.split("ENV ")[1:]))
    allowed = {"WORKLOAD_FORECAST_KEYS"}  # where the file is
    assert "PIP_INDEX_URL" in names
    assert not [name for name in set(names) - allowed if looks_secret(name)]


def test_what_is_copied_is_in_the_build_context_and_little_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        word
        for name, line in instructions()
        if name == "COPY" and not line.startswith("--from")
        for word in line.split()[:-1]
    }
    assert "*" in ignored
    assert copied == kept


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def health(*arguments: str, **variables: str) -> tuple[int, str]:
    command = [sys.executable, "-I", "-S", str(HEALTH), *arguments]
    given = {**os.environ, "http_proxy": "http://127.0.0.1:9", **variables}
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def test_the_health_check_is_the_services_own_answer() -> None:
    with answering(200, b'{"status": "ready"}') as url:
        assert health(WORKLOAD_FORECAST_SERVICE_URL=url) == (0, '{"status": "ready"}')
    with answering(503, b"no model yet") as url:
        assert health(WORKLOAD_FORECAST_SERVICE_URL=f"{url}/") == (1, "503 no model yet")
    code, said = health(WORKLOAD_FORECAST_SERVICE_URL=url)
    assert (code, "does not answer" in said) == (1, True)


@pytest.mark.parametrize(("minutes", "problem", "code"), [(0, "", 0), (0, "the registry is away", 0), (20, "", 1)])
def test_the_followers_check_is_when_it_has_looked_last(tmp_path: Path, minutes: int, problem: str, code: int) -> None:
    checked = datetime.now(timezone.utc) - timedelta(minutes=minutes)
    Exchange(tmp_path).put_follower(FollowerState(checked.isoformat(timespec="seconds"), problem))
    assert health("follower", WORKLOAD_FORECAST_EXCHANGE=str(tmp_path))[0] == code


@pytest.mark.parametrize("text", [None, "{", "[]", json.dumps({"checked": 3}), json.dumps({"checked": "soon"})])
def test_a_note_that_is_missing_or_broken_is_unhealthy(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "follower.json").write_text(text)
    code, said = health("follower", WORKLOAD_FORECAST_EXCHANGE=str(tmp_path))
    assert (code, "does not say" in said) == (1, True)

"""Azure's store on bad days: a network that breaks, an account that refuses, a blob that changes."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AzureSasCredential
from azure.storage.blob import BlobLeaseClient, BlobServiceClient, ContentSettings

from tests.storage.bench import RANGE_BYTES, Bench, blob_store, some_bytes
from tests.storage.conformance import a_folder, content_of
from tests.storage.machines.faults import Fault, Faults
from workload_forecast.errors import DataError, EnvironmentProblem
from workload_forecast.storage.blob import BlobStore
from workload_forecast.storage.cache import Cache
from workload_forecast.storage.contract import Item, Store
from workload_forecast.storage.credentials import IDENTITY, Credential
from workload_forecast.storage.locations import parse_location
from workload_forecast.storage.stores import open_store

pytestmark = pytest.mark.azurite

RANGES = 16
SIZE = RANGES * RANGE_BYTES - 7


def a_blob(bench: Bench, size: int = SIZE) -> tuple[Item, bytes]:
    content = some_bytes(size)
    [item] = bench.store.find(bench.write("data/x.bin", content))
    return item, content


def of_data(method: str, path: str) -> bool:
    return method == "GET" and "/data/" in path


NETWORK = {
    "busy": lambda: Fault(6, of_data, busy=True),
    "busy with a wish": lambda: Fault(1, of_data, busy=True, retry_after="1"),
    "dropped at once": lambda: Fault(6, of_data, drop_after=0),
    "dropped after some bytes": lambda: Fault(6, of_data, drop_after=1000),
    "dropped before the last byte": lambda: Fault(6, of_data, drop_after=RANGE_BYTES - 1),
    "Content-Length too large": lambda: Fault(6, of_data, longer=10),
    "Content-Length too small": lambda: Fault(6, of_data, longer=-10),
    "a byte changed": lambda: Fault(6, of_data, flip=True),
    "slow": lambda: Fault(3, of_data, delay=2.5),
}


@pytest.mark.parametrize("fault", NETWORK)
def test_a_bad_network_is_survived(blob_bench: Bench, faults: Faults, tmp_path: Path, fault: str) -> None:
    item, content = a_blob(blob_bench)
    faults.faults = [NETWORK[fault]()]
    told: list[int] = []
    store = blob_store(blob_bench.root, variables_of(blob_bench), deadline_s=30.0, read_s=1.0)

    store.fetch(item, tmp_path / "x", told.append)

    assert (tmp_path / "x").read_bytes() == content
    assert sum(told) == SIZE
    assert faults.faults[0].times == 0, "the fault has struck"


@pytest.mark.parametrize("fault", ["busy", "dropped"])
def test_publishing_survives_a_bad_network(blob_bench: Bench, faults: Faults, tmp_path: Path, fault: str) -> None:
    source = a_folder(tmp_path / "source", {"a": some_bytes(300_000), "b": b"2"})
    broken = Fault(6, lambda method, _: method == "PUT")
    faults.faults = [replace(broken, busy=True) if fault == "busy" else replace(broken, drop_after=0, longer=5)]
    place = blob_bench.root.join("results")

    blob_bench.store.put_folder(source, place)

    assert faults.faults[0].times == 0
    blob_bench.store.get_folder(place, tmp_path / "target")
    assert content_of(tmp_path / "target") == content_of(source)
    assert len(blob_bench.names()) == 3


@pytest.mark.parametrize("fault", NETWORK)
def test_reading_a_publication_survives_a_bad_network(
    blob_bench: Bench, faults: Faults, tmp_path: Path, fault: str
) -> None:
    place = blob_bench.root.join("results")
    manifest = blob_bench.store.put_folder(a_folder(tmp_path / "source", {"a": b"1"}), place)
    broken = replace(NETWORK[fault](), fits=lambda method, path: method == "GET" and "manifest" in path)
    if broken.drop_after:
        broken.drop_after = 20
    faults.faults = [broken]
    store = blob_store(blob_bench.root, variables_of(blob_bench), deadline_s=30.0, read_s=1.0)
    assert store.read_manifest(place) == manifest
    assert broken.times == 0, "the fault has struck"


def test_a_folder_of_a_hierarchical_account_is_no_file(blob_bench: Bench) -> None:
    file, folder = blob_bench.write("data/year/x", b"1"), blob_bench.write("data/year", b"")
    blob_bench.raw(folder.path).set_blob_metadata({"hdi_isfolder": "true"})
    assert [item.location for item in blob_bench.store.find(blob_bench.root.join("data/**"))] == [file]
    with pytest.raises(DataError, match="is a folder: add a glob"):
        blob_bench.store.find(folder)


@pytest.mark.parametrize("fault", ["busy", "dropped", "changed"])
def test_there_is_an_end_to_trying(blob_bench: Bench, faults: Faults, tmp_path: Path, fault: str) -> None:
    item, _ = a_blob(blob_bench)
    kind = {"busy": {"busy": True}, "dropped": {"drop_after": 10}, "changed": {"flip": True}}[fault]
    faults.faults = [Fault(-1, of_data, **kind)]  # type: ignore[arg-type]
    store = blob_store(blob_bench.root, variables_of(blob_bench), deadline_s=1.0)
    message = {"busy": "is busy and answered 503", "dropped": "did not answer completely", "changed": "damaged again"}
    started = time.monotonic()

    with pytest.raises(EnvironmentProblem, match=message[fault]) as caught:
        store.fetch(item, tmp_path / "x")

    assert time.monotonic() - started < 10, "several times the deadline"
    assert faults.counts["fault"] > 4, "it was tried again"
    assert one_clear_line(caught.value, blob_bench)
    assert not (tmp_path / "x").exists()

    faults.faults = []
    store.fetch(item, tmp_path / "x")


def test_a_download_that_was_cut_short_goes_on(blob_bench: Bench, faults: Faults, tmp_path: Path) -> None:
    item, content = a_blob(blob_bench)

    def give_up(_: int) -> None:
        if faults.counts["GET"] >= 6:
            raise KeyboardInterrupt

    faults.counts.clear()
    with pytest.raises(KeyboardInterrupt):
        blob_bench.store.fetch(item, tmp_path / "x", give_up)
    arrived = len((tmp_path / "x.part.log").read_text().splitlines()) - 1
    assert 0 < arrived < RANGES
    assert not (tmp_path / "x").exists()

    with (tmp_path / "x.part.log").open("a") as log:
        log.write("1")  # a line that was cut short
    faults.counts.clear()
    told: list[int] = []
    blob_bench.store.fetch(item, tmp_path / "x", told.append)
    assert faults.counts["GET"] == RANGES - arrived
    assert sum(told) == SIZE
    assert (tmp_path / "x").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_arrived_of_another_version_is_not_used(blob_bench: Bench, tmp_path: Path) -> None:
    item, _ = a_blob(blob_bench)

    def give_up(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        blob_bench.store.fetch(item, tmp_path / "x", give_up)
    item, content = a_blob(blob_bench)
    blob_bench.store.fetch(item, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == content


def test_a_blob_that_changes_during_its_download_is_an_error(blob_bench: Bench, faults: Faults, tmp_path: Path) -> None:
    item, _ = a_blob(blob_bench)
    once = threading.Lock()

    def change(method: str, path: str) -> None:
        if of_data(method, path) and once.acquire(blocking=False):
            blob_bench.write("data/x.bin", some_bytes(SIZE))

    faults.on_answer = change
    with pytest.raises(DataError, match="has changed since it was found") as caught:
        blob_bench.store.fetch(item, tmp_path / "x")
    assert one_clear_line(caught.value, blob_bench)
    assert not (tmp_path / "x").exists()


def test_an_unchanged_blob_is_not_fetched_twice(blob_bench: Bench, faults: Faults, tmp_path: Path) -> None:
    item, content = a_blob(blob_bench)
    for expected in (RANGES, 0):
        faults.counts.clear()
        [again] = blob_bench.store.find(item.location)
        with Cache(tmp_path / "cache", SIZE).hold(blob_bench.store, again) as path:
            assert path.read_bytes() == content
        assert faults.counts["GET"] == expected
    item, content = a_blob(blob_bench)
    with Cache(tmp_path / "cache", SIZE).hold(blob_bench.store, item) as path:
        assert path.read_bytes() == content, "the old version made room for the new one"


def test_content_that_is_not_its_stored_md5_is_an_error(blob_bench: Bench, tmp_path: Path) -> None:
    location = blob_bench.write("data/x.bin", some_bytes(SIZE))
    blob_bench.raw(location.path).set_http_headers(ContentSettings(content_md5=bytearray(16)))
    [item] = blob_bench.store.find(location)
    with pytest.raises(DataError, match="does not have the MD5"):
        blob_bench.store.fetch(item, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_by_workers_and_range(blob_bench: Bench, tmp_path: Path) -> None:
    item, _ = a_blob(blob_bench, 12 << 20)
    tracemalloc.start()
    try:
        blob_bench.store.fetch(item, tmp_path / "x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # the proxy runs in this process too, and has each range twice
    assert peak < 6 << 20, "half of the blob"


def test_a_disk_without_room_is_said_first(
    blob_bench: Bench, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, _ = a_blob(blob_bench)
    full = type("Usage", (), {"free": SIZE - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    faults.counts.clear()
    with pytest.raises(EnvironmentProblem, match=f"needs {SIZE} bytes in .* where {SIZE - 1} are free"):
        blob_bench.store.fetch(item, tmp_path / "x")
    assert faults.counts["GET"] == 0


class TestRefusals:
    """Each trouble has one clear line that names the place and the remedy."""

    def test_a_wrong_key(self, blob_bench: Bench) -> None:
        wrong = "d3Jvbmcga2V5"
        store = blob_store(blob_bench.root, {"AZURE_STORAGE_ACCESS_KEY": wrong})
        blob_bench.secrets.append(wrong)
        self.refuses(store, blob_bench, "does not accept AZURE_STORAGE_ACCESS_KEY: it is wrong, expired")

    def test_a_signature_that_has_expired(self, blob_bench: Bench) -> None:
        store = blob_store(blob_bench.root, {"AZURE_STORAGE_SAS_TOKEN": a_signature(blob_bench, hours=-1)})
        self.refuses(store, blob_bench, "AZURE_STORAGE_SAS_TOKEN")

    def test_a_signature_that_may_only_read(self, blob_bench: Bench, tmp_path: Path) -> None:
        blob_bench.write("data/x", b"1")
        store = blob_store(blob_bench.root, {"AZURE_STORAGE_SAS_TOKEN": a_signature(blob_bench)})
        assert len(store.find(blob_bench.root.join("data/*"))) == 1
        with pytest.raises(EnvironmentProblem, match=r"AZURE_STORAGE_SAS_TOKEN may not do this .*ask for") as caught:
            store.put_folder(a_folder(tmp_path / "f", {"a": b"1"}), blob_bench.root.join("results"))
        assert one_clear_line(caught.value, blob_bench)

    def test_no_such_container(self, blob_bench: Bench, tmp_path: Path) -> None:
        place = parse_location(f"{blob_bench.endpoint}/no-such-container/results", environment={})
        for attempt in (
            lambda: blob_bench.store.find(place.join("*")),
            lambda: blob_bench.store.read_manifest(place),
            lambda: blob_bench.store.put_folder(a_folder(tmp_path / "f", {"a": b"1"}), place),
        ):
            with pytest.raises(EnvironmentProblem, match="has no container 'no-such-container': correct") as caught:
                attempt()
            assert one_clear_line(caught.value, blob_bench)

    def test_no_such_blob(self, blob_bench: Bench) -> None:
        with pytest.raises(DataError, match=r"data/x does not exist: correct the location") as caught:
            blob_bench.store.find(blob_bench.root.join("data/x"))
        assert one_clear_line(caught.value, blob_bench)

    def test_no_credential(self, blob_bench: Bench) -> None:
        blob_bench.write("data/x", b"1")
        store = open_store(blob_bench.root, {})
        self.refuses(store, blob_bench, "is not public .*Set AZURE_STORAGE_CONNECTION_STRING")

    def test_a_wrong_account_name(self, blob_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*_: Any, **__: Any) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        place = parse_location("wasbs://data@msspelt.blob.core.windows.net/x", environment={})
        started = time.monotonic()
        for variables in ({"AZURE_STORAGE_ACCESS_KEY": "a2V5"}, {"AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=a2V5"}):
            blob_bench.secrets.append("a2V5")
            store = blob_store(place, variables, deadline_s=60.0)
            with pytest.raises(EnvironmentProblem, match="no storage account 'msspelt' is known") as caught:
                store.find(place.join("*"))
            assert one_clear_line(caught.value, blob_bench)
        assert time.monotonic() - started < 30, "not until the deadline"

    def test_a_server_that_is_not_there(self, blob_bench: Bench) -> None:
        place = parse_location("http://127.0.0.1:9/acc/data/x", environment={})
        store = blob_store(place, {"AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=c2ln"}, deadline_s=0.5)
        blob_bench.secrets.append("c2ln")
        with pytest.raises(EnvironmentProblem, match="did not answer completely") as caught:
            store.find(place)
        assert one_clear_line(caught.value, blob_bench)

    @staticmethod
    def refuses(store: Store, bench: Bench, message: str) -> None:
        for pattern in ("data/*", "data/x"):
            with pytest.raises(EnvironmentProblem, match=message) as caught:
                store.find(bench.root.join(pattern))
            assert one_clear_line(caught.value, bench)


@pytest.mark.parametrize("level", ["container", "blob"])
def test_a_public_container_needs_no_credential(blob_bench: Bench, tmp_path: Path, level: str) -> None:
    item, content = a_blob(blob_bench)
    assert blob_bench.azurite is not None
    service = BlobServiceClient.from_connection_string(blob_bench.azurite.connection_string())
    service.get_container_client(blob_bench.root.container).set_container_access_policy({}, public_access=level)

    store = open_store(item.location, {})
    pattern = blob_bench.root.join("data/*") if level == "container" else item.location
    [found] = store.find(pattern)
    store.fetch(found, tmp_path / "x")

    assert (tmp_path / "x").read_bytes() == content


def test_a_writer_that_was_taken_for_dead_does_not_publish(
    blob_bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = blob_bench.root.join("results")
    blob_bench.store.put_folder(a_folder(tmp_path / "one", {"a": b"1"}), place)
    real = BlobStore._put

    def lose_the_mark(store: BlobStore, *arguments: Any) -> None:
        real(store, *arguments)
        [mark] = [name for name in blob_bench.names() if name.startswith("results/writer-")]
        BlobLeaseClient(blob_bench.raw(mark)).break_lease(0)
        blob_bench.raw(mark).delete_blob()

    monkeypatch.setattr(BlobStore, "_put", lose_the_mark)
    with pytest.raises(EnvironmentProblem, match="was taken for dead: run it again") as caught:
        blob_bench.store.put_folder(a_folder(tmp_path / "two", {"a": b"2"}), place)
    assert one_clear_line(caught.value, blob_bench)
    blob_bench.store.get_folder(place, tmp_path / "target")
    assert content_of(tmp_path / "target") == {"a": b"1"}


def test_a_public_container_that_refuses_our_identity_is_read_as_nobody(blob_bench: Bench) -> None:
    item, _ = a_blob(blob_bench)
    # a token needs TLS; what counts is that the server refuses it
    refused = Credential(IDENTITY, "", AzureSasCredential("sv=2024-08-04&ss=b&srt=sco&sp=rl&se=2000-01-01&sig=bm8="))
    blob_bench.secrets.append("bm8=")
    private = BlobStore(blob_bench.root.endpoint, refused)
    private.check_access(item.location)
    with pytest.raises(EnvironmentProblem, match=r"the Azure identity .*") as caught:
        private.find(blob_bench.root.join("data/*"))
    assert one_clear_line(caught.value, blob_bench)

    assert blob_bench.azurite is not None
    service = BlobServiceClient.from_connection_string(blob_bench.azurite.connection_string())
    service.get_container_client(blob_bench.root.container).set_container_access_policy({}, public_access="container")
    public = BlobStore(blob_bench.root.endpoint, refused)
    public.check_access(item.location)
    assert public.find(blob_bench.root.join("data/*")) == [item]


def test_no_secret_is_anywhere(
    blob_bench: Bench, faults: Faults, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Key and signature, over a good day and a bad one, with every library as talkative as it can be."""
    signature = a_signature(blob_bench, permissions="rwdlc")
    shown: list[str] = []
    with caplog.at_level("DEBUG"):
        for variables in (variables_of(blob_bench), {"AZURE_STORAGE_SAS_TOKEN": signature}):
            store = blob_store(blob_bench.root, variables, deadline_s=1.0)
            place = blob_bench.root.join("results")
            item, _ = a_blob(blob_bench)
            faults.faults = [Fault(2, busy=True), Fault(2, drop_after=5)]
            store.put_folder(a_folder(tmp_path / f"s{len(shown)}", {"a": b"1"}), place, {"store": repr(store)})
            store.get_folder(place, tmp_path / f"t{len(shown)}")
            with Cache(tmp_path / "cache", 2 * SIZE).hold(store, item):
                pass
            faults.faults = [Fault(-1, lambda *_: True, drop_after=3, longer=9)]
            with pytest.raises(EnvironmentProblem) as caught:
                store.find(place.join("**"))
            faults.faults = []
            shown += [repr(store), str(caught.value), repr(caught.value), str(vars(store))]
    shown += [caplog.text, Path("/proc/self/cmdline").read_text()]
    shown += [repr(record.__dict__) for record in caplog.records]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    published = [name for name in blob_bench.names() if name.endswith((".json", "/a"))]
    content = [path.read_bytes() for path in files] + [blob_bench.raw(n).download_blob().readall() for n in published]
    assert "connectionpool" in repr([record.name for record in caplog.records]), "the logs were really on"
    assert len(content) > 4

    for secret in blob_bench.secrets:
        assert not [text for text in shown if secret in text]
        assert not [text for text in content if secret.encode() in text]


def variables_of(bench: Bench) -> dict[str, str]:
    assert bench.azurite is not None
    return {"AZURE_STORAGE_CONNECTION_STRING": bench.azurite.connection_string(bench.endpoint)}


def a_signature(bench: Bench, hours: int = 1, permissions: str = "rl") -> str:
    """A shared access signature for the account's blobs."""
    from datetime import datetime, timedelta, timezone
    from urllib.parse import parse_qs

    from azure.storage.blob import ResourceTypes, generate_account_sas

    assert bench.azurite is not None
    now = datetime.now(timezone.utc)
    token = generate_account_sas(
        bench.azurite.account,
        bench.azurite.key,
        resource_types=ResourceTypes(service=True, container=True, object=True),
        permission=permissions,
        start=now - timedelta(hours=2),
        expiry=now + timedelta(hours=hours),
    )
    [decoded] = parse_qs(token)["sig"]
    encoded = token.split("sig=")[1].split("&")[0]
    bench.secrets += [decoded, encoded]
    return token


def one_clear_line(problem: BaseException, bench: Bench) -> bool:
    """Whether a message is one line that names the place and shows no secret, in its text and its trace."""
    import traceback

    text = "".join(traceback.format_exception(problem)) + repr(problem)
    assert not [secret for secret in bench.secrets if secret in text]
    assert "\n" not in str(problem)
    assert "http" in str(problem)
    return True

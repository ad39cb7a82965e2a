"""Azure Blob Storage as a store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobLeaseClient, BlobServiceClient, ContentSettings

from workload_forecast.errors import DataError, EnvironmentProblem
from workload_forecast.storage.contract import Item, Told, tell_nobody
from workload_forecast.storage.credentials import ANONYMOUS, Credential
from workload_forecast.storage.download import Limits, download, read_patiently, read_range
from workload_forecast.storage.failures import code_of, explained, status_of
from workload_forecast.storage.locations import Location
from workload_forecast.storage.patterns import literal_head, matches
from workload_forecast.storage.published import FileMissing, PublishedFolders
from workload_forecast.storage.retries import RetryUntil

#: Seconds that a writer's mark outlives it; the service allows 15 to 60.
_LEASE_SECONDS = 60


class BlobStore(PublishedFolders):
    """One storage account; see :class:`~workload_forecast.storage.contract.Store`.

    Args:
        endpoint: of the account, as in :class:`~workload_forecast.storage.locations.Location`.
        credential: what to show to it.
        limits: of its transfers.
        lease_seconds: how long a writer that died is taken for a living one.
    """

    def __init__(
        self,
        endpoint: str,
        credential: Credential,
        limits: Limits = Limits(),  # noqa: B008 — frozen
        lease_seconds: int = _LEASE_SECONDS,
    ) -> None:
        self._endpoint, self._credential, self._limits = endpoint, credential, limits
        self._lease_seconds = lease_seconds

    def __repr__(self) -> str:
        return f"BlobStore({self._endpoint!r}, {self._credential.source!r})"

    @cached_property
    def _service(self) -> BlobServiceClient:
        return self._connect(self._credential)

    def _connect(self, credential: Credential) -> BlobServiceClient:
        limits = self._limits
        return BlobServiceClient(
            credential.endpoint or self._endpoint,
            credential=credential.value,
            retry_policy=RetryUntil(limits.deadline_s, limits.first_wait_s, limits.longest_wait_s),
            connection_timeout=limits.connect_s,
            read_timeout=limits.read_s,
            # a request for a range is one request, and an upload holds no more than its blocks
            max_single_get_size=limits.range_bytes,
            max_chunk_get_size=limits.range_bytes,
            max_single_put_size=limits.range_bytes,
            max_block_size=limits.range_bytes,
        )

    def check_access(self, location: Location) -> None:
        """Look whether the credential opens a container, and fall back to nobody where only the identity is refused.

        A public container of a foreign organisation refuses the token of ours, but lets anybody in.
        """
        if self._credential.is_chosen or self._credential is ANONYMOUS:
            return
        try:
            self._look(self._service, location)
        except HttpResponseError as problem:
            if status_of(problem) not in {401, 403}:
                return
            public = self._connect(ANONYMOUS)
            try:
                self._look(public, location)
            except AzureError:
                return  # what the identity is refused for is the better message, and the next request brings it
            self._credential = ANONYMOUS
            self.__dict__["_service"] = public
        except AzureError:
            return  # the next request says why

    @staticmethod
    def _look(service: BlobServiceClient, location: Location) -> None:
        if location.path and not location.is_pattern:
            try:
                service.get_blob_client(location.container, location.path).get_blob_properties()
            except ResourceNotFoundError:
                pass
            else:
                return
        pages = service.get_container_client(location.container).list_blobs(results_per_page=1).by_page()
        next(iter(pages), None)

    def find(self, pattern: Location) -> list[Item]:
        """See the contract."""
        if not pattern.is_pattern:
            with self._explained(pattern):
                properties = self._client(pattern).get_blob_properties()
            if _is_folder(properties):
                raise DataError(f"{pattern} is a folder: add a glob like /** for the files in it.")
            return [_item(pattern, properties)]
        found = [
            item
            for item in self._walk(pattern, literal_head(pattern.path))
            if matches(pattern.path, item.location.path)
        ]
        if not found:
            raise DataError(f"no blob matches '{pattern}': correct it or put data there.")
        return found

    def files(self, folder: Location) -> list[Item]:
        """See the contract."""
        return self._walk(folder, f"{folder.path}/" if folder.path else "")

    def fetch(self, item: Item, target: Path, told: Told = tell_nobody) -> None:
        """See the contract."""
        with self._reading(item) as client:
            download(client, item, target, self._limits, told)

    def head(self, item: Item, size: int) -> bytes:
        """See the contract."""
        length = min(size, item.size)
        with self._reading(item) as client:
            return read_range(client, item, 0, length, self._limits) if length else b""

    @contextmanager
    def _reading(self, item: Item) -> Iterator[BlobClient]:
        with self._explained(item.location):
            client = self._client(item.location)
            try:
                yield client
            except HttpResponseError as problem:
                # servers differ in whether a blob that is gone is missing or not the one that was asked for
                if code_of(problem) != "BlobNotFound" and (status_of(problem) != 412 or client.exists()):
                    raise
                raise FileMissing(f"{item.location} is not there any more: run it again.") from None

    def _walk(self, location: Location, prefix: str) -> list[Item]:
        with self._explained(location):
            container = self._service.get_container_client(location.container)
            blobs = container.list_blobs(name_starts_with=prefix or None, include=["metadata"])
            items = [
                _item(Location(blob.name, location.container, location.endpoint), blob)
                for blob in blobs
                if not _is_folder(blob)
            ]
        return sorted(items, key=lambda item: item.location.path)

    def _put(self, source: Path, location: Location, md5: bytes) -> None:
        with self._explained(location), source.open("rb") as stream:
            self._client(location).upload_blob(
                stream,
                length=source.stat().st_size,
                overwrite=True,
                validate_content=True,
                max_concurrency=self._limits.workers,
                content_settings=ContentSettings(content_md5=bytearray(md5)),
            )

    def _write(self, location: Location, content: bytes) -> None:
        with self._explained(location):
            settings = ContentSettings(content_type="application/json")
            self._client(location).upload_blob(
                content, overwrite=True, validate_content=True, content_settings=settings
            )

    def _read(self, location: Location) -> bytes | None:
        client = self._client(location)
        with self._explained(location):
            try:
                return read_patiently(lambda: client.download_blob(validate_content=True).readall(), self._limits)
            except ResourceNotFoundError as problem:
                if code_of(problem) != "BlobNotFound":
                    raise
                return None

    def _remove(self, location: Location, folder: Location) -> None:  # noqa: ARG002 — blobs have no folders
        with self._explained(location):
            try:
                self._client(location).delete_blob()
            except ResourceNotFoundError as problem:
                if code_of(problem) != "BlobNotFound":
                    raise
            except HttpResponseError as problem:
                if code_of(problem) != "LeaseIdMissing":  # else a writer has just begun to hold it
                    raise

    @contextmanager
    def _hold(self, location: Location) -> Iterator[Callable[[], None]]:
        with self._explained(location):
            lease = self._take(location)
        over = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(lease, over), name="lease", daemon=True)
        keeper.start()

        def still_held() -> None:
            try:
                lease.renew()
            except HttpResponseError:
                raise EnvironmentProblem(
                    f"{location}: the connection was away so long that this writer was taken for dead: run it again."
                ) from None

        try:
            yield still_held
        finally:
            over.set()
            keeper.join()
            # a mark that stays is free soon and then cleaned up, and what failed before is the better message
            with suppress(AzureError):
                self._client(location).delete_blob(lease=lease)

    def _take(self, location: Location) -> BlobLeaseClient:
        """Make a mark and hold it; somebody who cleans up may take it away in between."""
        client = self._client(location)
        while True:
            with suppress(ResourceExistsError):  # a repeated request whose first answer was lost
                client.upload_blob(b"")
            try:
                return client.acquire_lease(self._lease_seconds)
            except ResourceNotFoundError as problem:
                if code_of(problem) != "BlobNotFound":
                    raise

    def _keep(self, lease: BlobLeaseClient, over: threading.Event) -> None:
        while not over.wait(self._lease_seconds / 3):
            try:
                lease.renew()
            except AzureError:  # told when it matters: before the manifest is written
                return

    def _held(self, location: Location) -> bool:
        with self._explained(location):
            try:
                return bool(self._client(location).get_blob_properties().lease.state == "leased")
            except ResourceNotFoundError:
                return False

    def _client(self, location: Location) -> BlobClient:
        return self._service.get_blob_client(location.container, location.path)

    @contextmanager
    def _explained(self, location: Location) -> Iterator[None]:
        with explained(location, self._credential.source, self._limits.deadline_s):
            yield


def _is_folder(properties: Any) -> bool:
    """Whether it is a folder of an account with a hierarchical namespace, which lists them among its blobs."""
    return (properties.metadata or {}).get("hdi_isfolder") == "true"


def _item(location: Location, properties: Any) -> Item:
    md5 = properties.content_settings.content_md5
    return Item(location, properties.size, properties.etag.strip('"'), bytes(md5) if md5 else None)

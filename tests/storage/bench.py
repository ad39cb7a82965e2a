"""A store with a place of its own in it, and hands that reach behind the store's back."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.storage.machines.azurite import Azurite
from tests.storage.machines.faults import Faults
from workload_forecast.storage.contract import Store
from workload_forecast.storage.local_store import LocalStore
from workload_forecast.storage.locations import Location, parse_location

#: Small enough that a test's file has many ranges.
RANGE_BYTES = 64 << 10
DEADLINE_SECONDS = 5.0


@dataclass
class Bench:
    """A store under test.

    Attributes:
        root: an empty folder or container.
        secrets: what nothing may show.
    """

    store: Store
    root: Location
    secrets: list[str] = field(default_factory=list)
    azurite: Azurite | None = None
    endpoint: str = ""

    @classmethod
    def in_folder(cls, folder: Path) -> Bench:
        return cls(LocalStore(), parse_location(str(folder)))

    @classmethod
    def in_azurite(cls, azurite: Azurite, faults: Faults, container: str) -> Bench:
        from azure.storage.blob import BlobServiceClient

        BlobServiceClient.from_connection_string(azurite.connection_string()).create_container(container)
        endpoint = f"http://127.0.0.1:{faults.port}/{azurite.account}"
        root = parse_location(f"{endpoint}/{container}")
        variables = {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string(endpoint)}
        return cls(blob_store(root, variables), root, [azurite.key], azurite, endpoint)

    def raw(self, name: str) -> Any:
        """The SDK's own client for a blob, past the proxy and with the account's key."""
        from azure.storage.blob import BlobServiceClient

        assert self.azurite is not None
        service = BlobServiceClient.from_connection_string(self.azurite.connection_string())
        return service.get_blob_client(self.root.container, name)

    def write(self, name: str, content: bytes) -> Location:
        """Put a file there behind the store's back."""
        location = self.root.join(name)
        if self.azurite:
            self.raw(location.path).upload_blob(content, overwrite=True)
        else:
            location.as_path().parent.mkdir(parents=True, exist_ok=True)
            location.as_path().write_bytes(content)
        return location

    def names(self) -> list[str]:
        """All files below the root, as they are."""
        if self.azurite:
            from azure.storage.blob import ContainerClient

            text = self.azurite.connection_string()
            container = ContainerClient.from_connection_string(text, self.root.container)
            return sorted(str(name) for name in container.list_blob_names())
        top = self.root.as_path()
        return sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file())


def blob_store(root: Location, variables: dict[str, str], **limits: Any) -> Store:
    """A store with small ranges and little patience."""
    from workload_forecast.storage.blob import BlobStore
    from workload_forecast.storage.credentials import find_credential
    from workload_forecast.storage.download import Limits

    few = {"workers": 4, "range_bytes": RANGE_BYTES, "deadline_s": DEADLINE_SECONDS, "read_s": 2.0}
    given = Limits(**{**few, "first_wait_s": 0.02, "longest_wait_s": 0.2, **limits})
    return BlobStore(root.endpoint, find_credential(root, variables), given, lease_seconds=15)


def some_bytes(size: int) -> bytes:
    return os.urandom(size)

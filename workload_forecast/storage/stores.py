"""Which store holds a location."""

from __future__ import annotations

import os
from collections.abc import Mapping

from workload_forecast.storage.contract import Store
from workload_forecast.storage.local_store import LocalStore
from workload_forecast.storage.locations import Location


def open_store(location: Location, environment: Mapping[str, str] = os.environ) -> Store:
    """Return the store for a location and for all others of the same account.

    Raises:
        SettingsError: the environment's credentials cannot be read.
    """
    if location.is_local:
        return LocalStore()
    # Azure's libraries take a second to import
    from workload_forecast.storage.blob import BlobStore
    from workload_forecast.storage.credentials import find_credential

    store = BlobStore(location.endpoint, find_credential(location, environment))
    store.check_access(location)
    return store

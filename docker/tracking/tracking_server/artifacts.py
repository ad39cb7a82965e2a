"""The container for the artifacts: looked at with MLflow's credential, and made if it is missing."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracking_server.settings import Settings, StartError, tell

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient, ContainerClient

CONNECTION_STRING, ACCESS_KEY = "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCESS_KEY"


def ensure_container(settings: Settings, environment: Mapping[str, str], until: float) -> None:
    """Look whether the artifacts' container opens to us, and make it if it is missing.

    Raises:
        StartError: the account does not answer or refuses.
    """
    from azure.core.exceptions import AzureError, HttpResponseError

    container = _service(settings, environment).get_container_client(settings.container)
    while True:
        try:
            _look_or_make(container)
        except HttpResponseError as problem:
            if problem.status_code in {400, 401, 403}:
                raise StartError(_refused(settings, environment, problem)) from None
            why = f"{problem.status_code} {_code(problem)}"
        except AzureError as problem:
            if "Signing" in type(problem).__name__ or "Authentication" in type(problem).__name__:
                raise StartError(_refused(settings, environment, problem)) from None
            why = "no answer"
        else:
            return
        if time.monotonic() > until:
            raise StartError(
                f"the storage account {settings.account} did not answer within {settings.wait_s:.0f} s ({why}): start "
                "it, correct MLFLOW_ARTIFACTS_DESTINATION or the connection string's BlobEndpoint, or look at its "
                "firewall."
            )
        time.sleep(1)


def _look_or_make(container: ContainerClient) -> None:
    from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

    try:
        # what every credential that suffices may do; not all of them may ask for properties
        next(iter(container.list_blobs(results_per_page=1).by_page()), None)
    except ResourceNotFoundError:
        try:
            container.create_container()
        except ResourceExistsError as problem:
            if _code(problem) != "ContainerAlreadyExists":  # else another start was faster
                raise
        else:
            tell(f"made container {container.container_name}")


def _service(settings: Settings, environment: Mapping[str, str]) -> BlobServiceClient:
    """A client with the credential that MLflow will take, in the same order."""
    from azure.storage.blob import BlobServiceClient

    few: dict[str, Any] = {"retry_total": 0, "connection_timeout": 5, "read_timeout": 20}
    if text := environment.get(CONNECTION_STRING):
        fields = {name.strip().lower(): value for name, _, value in (part.partition("=") for part in text.split(";"))}
        account = fields.get("accountname", "")
        if account and account != settings.account:
            raise StartError(
                f"{CONNECTION_STRING} is for account {account}, MLFLOW_ARTIFACTS_DESTINATION names {settings.account}: "
                "make them agree, because MLflow would take the former without a word."
            )
        try:
            return BlobServiceClient.from_connection_string(text, **few)
        except ValueError:
            raise StartError(f"{CONNECTION_STRING} is no connection string: copy it again from the account.") from None
    if key := environment.get(ACCESS_KEY):
        return BlobServiceClient(settings.account_url, credential=key, **few)
    from azure.identity import DefaultAzureCredential

    return BlobServiceClient(settings.account_url, credential=DefaultAzureCredential(), **few)


def _refused(settings: Settings, environment: Mapping[str, str], problem: Exception) -> str:
    source = next((name for name in (CONNECTION_STRING, ACCESS_KEY) if environment.get(name)), "the Azure identity")
    return (
        f"account {settings.account} refuses {source} for container {settings.container} "
        f"({_code(problem) or type(problem).__name__}): correct it, or ask for the role Storage Blob Data Contributor "
        "and for the container to be made."
    )


def _code(problem: Exception) -> str:
    """The service's own word for it; its texts hold URLs, and those may hold a signature."""
    code = getattr(problem, "error_code", None)
    text = str(getattr(code, "value", code) or "")
    return text if re.fullmatch(r"[A-Za-z]{1,60}", text) else ""

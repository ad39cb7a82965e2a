"""Which credential is taken, and that none is ever shown."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest
from azure.core.credentials import AccessToken, AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import ClientAuthenticationError

from workload_forecast.errors import SettingsError
from workload_forecast.storage.blob import BlobStore
from workload_forecast.storage.connection import read_connection
from workload_forecast.storage.credentials import ANONYMOUS, IDENTITY, Credential, find_credential
from workload_forecast.storage.locations import parse_location

KEY = "c2VjcmV0IGtleSBvZiBhbiBhY2NvdW50"
SIGNATURE = "sv=2024&sig=c2VjcmV0LXNpZw%3D%3D"
PLACE = parse_location("az://data/x", "acc", {})
CONNECTION = {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=acc;AccountKey={KEY};EndpointSuffix=core.windows.net"}
SAS_CONNECTION = {
    "AZURE_STORAGE_CONNECTION_STRING": (
        f"BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature={SIGNATURE}"
    )
}
KEYS = {name: KEY for name in ("AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY")}
SAS = {"AZURE_STORAGE_SAS_TOKEN": f"?{SIGNATURE}"}


class Identity:
    """An Azure identity of this machine, or none."""

    there = True

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        if not self.there:
            raise ClientAuthenticationError("nobody is signed in")
        return AccessToken("token", 0)


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> type[Identity]:
    class Here(Identity):
        pass

    monkeypatch.setattr("azure.identity.DefaultAzureCredential", Here)
    return Here


def test_the_order(identity: type[Identity]) -> None:
    environment = {**CONNECTION, **KEYS, **SAS}
    sources = []
    while True:
        credential = find_credential(PLACE, environment)
        sources.append(credential.source)
        if credential.source == IDENTITY:
            break
        del environment[credential.source]
    assert sources == ["AZURE_STORAGE_CONNECTION_STRING", *KEYS, "AZURE_STORAGE_SAS_TOKEN", IDENTITY]
    identity.there = False
    assert find_credential(PLACE, {}) == ANONYMOUS


def test_what_the_client_gets() -> None:
    for environment in (CONNECTION, KEYS):
        value = find_credential(PLACE, environment).value
        assert isinstance(value, AzureNamedKeyCredential)
        assert value.named_key == ("acc", KEY)
    for environment in (SAS_CONNECTION, SAS):
        value = find_credential(PLACE, environment).value
        assert isinstance(value, AzureSasCredential)
        assert value.signature == SIGNATURE
    assert find_credential(PLACE, CONNECTION).endpoint == "https://acc.blob.core.windows.net"


def test_credentials_of_another_account_are_passed_over(identity: type[Identity]) -> None:
    other = parse_location("az://data/x", "other", {})
    assert find_credential(other, CONNECTION).source == IDENTITY
    assert find_credential(other, {**KEYS, **SAS, "AZURE_STORAGE_ACCOUNT": "acc"}).source == IDENTITY
    assert find_credential(other, {**CONNECTION, **SAS}).source == "AZURE_STORAGE_SAS_TOKEN"
    assert find_credential(PLACE, {**KEYS, "AZURE_STORAGE_ACCOUNT": "acc"}).source == "AZURE_STORAGE_ACCESS_KEY"
    assert identity.there


def test_no_token_goes_over_an_open_line() -> None:
    place = parse_location("http://127.0.0.1:10000/acc/data/x", environment={})
    assert find_credential(place, {}) == ANONYMOUS


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"AZURE_STORAGE_CONNECTION_STRING": KEY}, "AZURE_STORAGE_CONNECTION_STRING needs AccountName"),
        ({"AZURE_STORAGE_CONNECTION_STRING": f"AccountKey={KEY}"}, "needs AccountName or BlobEndpoint"),
        ({"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=acc;Account{KEY}"}, "and AccountKey or"),
        ({"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=acc;AccountKey=!{KEY}"}, "holds no account key"),
        ({"AZURE_STORAGE_ACCESS_KEY": f"!{KEY}"}, "AZURE_STORAGE_ACCESS_KEY is no account key"),
        ({"AZURE_STORAGE_KEY": KEY[:-1]}, "AZURE_STORAGE_KEY is no account key"),
    ],
)
def test_what_cannot_be_a_credential_is_said_without_repeating_it(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        find_credential(PLACE, environment)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_nothing_shows_a_secret() -> None:
    for environment, secret in [
        (CONNECTION, KEY),
        (KEYS, KEY),
        (SAS, "c2VjcmV0LXNpZw"),
        (SAS_CONNECTION, "c2VjcmV0LXNpZw"),
    ]:
        credential = find_credential(PLACE, environment)
        store = BlobStore(PLACE.endpoint, credential)
        shown = [f"{value!r} {value}" for value in (credential, store, credential.value, read_connection(environment))]
        assert secret not in " ".join(shown)
        assert credential.source in repr(store)


def test_the_http_library_logs_no_signature(caplog: pytest.LogCaptureFixture) -> None:
    find_credential(PLACE, SAS)
    logger = logging.getLogger("urllib3.connectionpool")
    with caplog.at_level("DEBUG"):
        logger.debug('%s "%s %s HTTP/1.1"', "https://acc", "GET", f"/data/x?a=1&{SIGNATURE}&b=2")
    assert 'GET /data/x?a=1&sv=2024&sig=…&b=2 HTTP/1.1"' in caplog.text
    assert "c2VjcmV0" not in caplog.text


def test_a_credential_that_was_set_is_never_given_up() -> None:
    assert Credential("AZURE_STORAGE_ACCESS_KEY").is_chosen
    assert not ANONYMOUS.is_chosen
    assert not Credential(IDENTITY).is_chosen

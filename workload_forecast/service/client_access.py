"""What the client goes by: the service's address, and a key that nothing prints."""

from __future__ import annotations

import ipaddress
import os
import re
from importlib import import_module
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from workload_forecast.errors import EnvironmentProblem, SettingsError

KEY, URL, ALLOW_HTTP = "WORKLOAD_FORECAST_API_KEY", "WORKLOAD_FORECAST_SERVICE_URL", "WORKLOAD_FORECAST_ALLOW_HTTP"
DEFAULT_URL = "http://127.0.0.1:8080"
#: Under this name, and the service's URL as the user, keys lie in the key ring.
KEY_RING = "workload-forecast"

_TOKEN = re.compile(r"wf_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")


class Bearer(AuthBase):
    """The key, as requests wants it; as an object of ours, so that nothing prints it and no .netrc replaces it."""

    def __init__(self, key: str) -> None:
        self._header = f"Bearer {key}"

    def __repr__(self) -> str:
        return "Bearer …"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the key into a request's headers."""
        request.headers["Authorization"] = self._header
        return request


def service_url(url: str | None = None) -> str:
    """Return the service's URL without a slash at its end: the given one, the environment's, or this machine's.

    Raises:
        SettingsError: it is no http or https URL, or carries a password, or is unencrypted and not of this machine.
    """
    text = (url or os.environ.get(URL) or DEFAULT_URL).rstrip("/")
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        parts, valid = urlsplit(""), False
    if "@" in parts.netloc:
        raise SettingsError(f"take user and password out of the service's URL: the key goes into {KEY}.")
    if not valid or parts.query or parts.fragment:
        raise SettingsError(f"'{text}' is no URL of a service: give one like {DEFAULT_URL} or https://HOST.")
    if parts.scheme == "http" and not is_loopback(text) and os.environ.get(ALLOW_HTTP) != "1":
        raise SettingsError(
            f"{text} is not encrypted: whoever is in between would read the key. Use https, or set {ALLOW_HTTP}=1 "
            "where the network is yours alone."
        )
    return text


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def find_key(url: str) -> str:
    """Return the key of the environment, or the key ring's for a service.

    Raises:
        SettingsError: there is none, or it is none.
    """
    key = os.environ.get(KEY) or _from_key_ring(url)
    if not key:
        raise SettingsError(
            f"no key for {url}: make one where the service runs with `workload-forecast keys create NAME`, and put it "
            f"into the variable {KEY}, or into the key ring with `workload-forecast keys store --url {url}`."
        )
    return checked_key(key)


def store_key(url: str, key: str) -> None:
    """Put a key into the key ring, for :func:`find_key`.

    Raises:
        SettingsError: it is no key.
        EnvironmentProblem: there is no key ring.
    """
    try:
        keyring, errors = import_module("keyring"), import_module("keyring.errors")
    except ImportError:
        raise EnvironmentProblem(f"no key ring: pip install 'workload-forecast[keyring]', or use {KEY}.") from None
    try:
        keyring.set_password(KEY_RING, url, checked_key(key))
    except errors.KeyringError as problem:
        raise EnvironmentProblem(f"the key ring does not take the key ({type(problem).__name__}): use {KEY}.") from None


def _from_key_ring(url: str) -> str | None:
    try:
        keyring, errors = import_module("keyring"), import_module("keyring.errors")
    except ImportError:
        return None  # it is an extra
    try:
        found: str | None = keyring.get_password(KEY_RING, url)
    except errors.KeyringError:
        return None  # locked, or a machine without one: whoever asks says that no key was found
    return found


def checked_key(key: str) -> str:
    """Return a key without blanks around it.

    Raises:
        SettingsError: it does not look like one; the message does not show it.
    """
    if not _TOKEN.fullmatch(key.strip()):
        raise SettingsError(
            f"what was given as a key is none (wf_…): copy it again, as `keys create` has shown it ({KEY})."
        )
    return key.strip()

"""How pip reaches its package index on this machine, so that a container or another user can do the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
# how pip and the other tools that fetch packages are told of a bundle of certificates
CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_PLACES = ("index-url", "extra-index-url", "find-links")
_OPTIONS = (*_PLACES, "no-index", "trusted-host", "cert", "timeout", "default-timeout", "retries")


def pip_settings() -> dict[str, str]:
    """What pip's files and variables say here about its index, as options of a pip.conf; lists are split by blanks."""
    folders = [Path("/etc/xdg/pip"), Path("/etc"), Path.home() / ".pip", Path.home() / ".config/pip", Path(sys.prefix)]
    files = [folder / "pip.conf" for folder in folders]
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        files = []
    elif named:
        files.append(Path(named))
    settings: dict[str, str] = {}
    for file in files:
        parser = ConfigParser(interpolation=None)
        parser.read(file)
        for section in ("global", "install"):
            if parser.has_section(section):
                settings.update(parser.items(section))
    for name in _OPTIONS:
        value = os.environ.get("PIP_" + name.upper().replace("-", "_"))
        if value:
            settings[name] = value
    return {name: " ".join(settings[name].split()) for name in _OPTIONS if name in settings}


def elsewhere(settings: Mapping[str, str], bundle: str) -> dict[str, str]:
    """The settings for a machine without this one's files: local indexes left out, certificates at ``bundle``."""
    kept = {name: value for name, value in settings.items() if name != "cert"}
    for name in _PLACES:
        remote = [place for place in kept.pop(name, "").split() if place.startswith(("http://", "https://"))]
        if remote:
            kept[name] = " ".join(remote)
    return {**kept, "cert": bundle}


def pip_conf(settings: Mapping[str, str]) -> str:
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in settings.items()), ""])


def ca_bundle() -> Path:
    """The certificates that this machine trusts, with those of its own network."""
    named = [os.environ.get(name) for name in CA_VARIABLES] + [pip_settings().get("cert")]
    return next((Path(name) for name in named if name and Path(name).is_file()), CA_BUNDLE)


def proxies() -> dict[str, str]:
    return {name: os.environ[name] for name in PROXY_VARIABLES if os.environ.get(name)}

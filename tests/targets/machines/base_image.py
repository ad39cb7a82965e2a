"""The image that the project's Dockerfile starts from, made of Debian packages where no image registry is reachable.

The names of package hosts and indexes are this machine's: read when the image is made, and written nowhere else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.targets.machines.docker import DockerEngine
from tests.targets.machines.packages import CA_VARIABLES, ca_bundle, elsewhere, pip_conf, pip_settings, proxies
from tests.targets.machines.process import MachineError, check, require

DEBIAN = "bookworm"  # its Python is 3.11
PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
CACHE = Path.home() / ".cache" / "workload_forecast-tests"
# not where `ca-certificates` writes, so that installing a package in a Dockerfile does not lose them
CERTIFICATES = "/etc/ssl/machine-certificates.crt"


def base_image(engine: DockerEngine, name: str, cache: Path = CACHE) -> str:
    """Give the engine an image of this name: Debian with ``python``, ``python3`` and ``pip``, like the official one.

    pip reaches the index that it reaches on this machine. The first time takes a minute or two; the Debian system is
    then kept in ``cache``, without anything that is particular to this machine.

    Returns:
        The name.
    """
    require("debootstrap", "apt-get", "tar")
    bare = f"wf-bare-{DEBIAN}"
    check(["docker", "import", str(_debian(cache)), bare], engine.environment())
    with tempfile.TemporaryDirectory(prefix="wf-base-") as temporary:
        context = Path(temporary)
        shutil.copyfile(ca_bundle(), context / "certificates.crt")
        (context / "pip.conf").write_text(pip_conf(elsewhere(pip_settings(), CERTIFICATES)))
        (context / "Dockerfile").write_text(_dockerfile(bare))
        check(["docker", "build", "--network", "host", "--tag", name, str(context)], engine.environment())
    return name


def _dockerfile(bare: str) -> str:
    # Variables, not only files: tools other than pip must find the certificates too.
    variables = {"LANG": "C.UTF-8", **dict.fromkeys(CA_VARIABLES, CERTIFICATES), **proxies()}
    return "\n".join(
        [
            f"FROM {bare}",
            "COPY pip.conf /etc/pip.conf",
            f"COPY certificates.crt {CERTIFICATES}",
            *(f'ENV {variable}="{value}"' for variable, value in variables.items()),
            'CMD ["python3"]',
            "",
        ]
    )


def _debian(cache: Path) -> Path:
    """The archive of a small Debian with Python, made when the cache has none for these settings."""
    mirror = debian_mirror()
    key = hashlib.sha256("\n".join([mirror, DEBIAN, *PACKAGES]).encode()).hexdigest()[:16]
    archive = cache / f"base-image-{key}.tar"
    if archive.exists():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    # in the cache's own file system, so that the archive appears there complete or not at all
    with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as temporary:
        root, log = Path(temporary) / "root", Path(temporary) / "log"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", DEBIAN, str(root), mirror]
        with log.open("wb") as out:
            done = subprocess.run(
                command, stdout=out, stderr=subprocess.STDOUT, env=_apt_environment(), check=False, timeout=1200
            )
        if done.returncode:
            end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise MachineError(f"`{' '.join(command)}` ended with {done.returncode}:\n{end}")
        _like_the_official_image(root)
        made = Path(temporary) / "image.tar"
        check(["tar", "--create", "--numeric-owner", "--file", str(made), "--directory", str(root), "."])
        made.replace(archive)
    return archive


def _like_the_official_image(root: Path) -> None:
    """``python`` is there, pip installs where it is told to, and no package lists fill the image."""
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for marker in (root / "usr/lib").glob("python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    for folder in ("var/lib/apt/lists", "var/cache/apt/archives"):
        shutil.rmtree(root / folder)
        (root / folder / "partial").mkdir(parents=True)


def debian_mirror() -> str:
    """Where this machine's apt gets Debian itself: the source of the suite that it runs, or of the image's."""
    layout = "$(SITE) $(RELEASE) $(COMPONENT)"
    listed = check(["apt-get", "indextargets", "--no-release-info", "--format", layout, "Created-By: Packages"])
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    own = release.get("VERSION_CODENAME", "").strip('"')
    for suite in (DEBIAN, own, "stable"):
        for site, name, component in (line.rsplit(" ", 2) for line in listed.splitlines()):
            if (name, component) == (suite, "main"):
                return site
    raise MachineError(f"apt on this machine has no source for the suite {DEBIAN}: see /etc/apt/sources.list")


def _apt_environment() -> dict[str, str]:
    """debootstrap fetches with wget, which is told of apt's proxy by a variable."""
    told = check(["apt-config", "shell", "proxy", "Acquire::http::Proxy"])
    proxy = told.partition("=")[2].strip().strip("'")
    return {**os.environ, "LC_ALL": "C", **({"http_proxy": proxy} if proxy else {})}

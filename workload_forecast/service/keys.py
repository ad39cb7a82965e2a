"""Keys of the service: made here, shown once, kept as hashes in a file that services read and follow.

A key is ``wf_PREFIX_SECRET``. The prefix names it in lists and logs; of the secret, 32 random bytes, only the SHA-256
is kept, which suffices because nobody guesses 256 random bits, however fast the hash. The file is JSON, so that it can
be mounted as a Kubernetes secret.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from workload_forecast.errors import EnvironmentProblem, SettingsError

_TOKEN = re.compile(r"wf_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
#: How long an expired key stays in lists; the next change after that drops it.
REMEMBERED = timedelta(days=30)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@ -]{0,63}")
#: Compared with when no key has the prefix, so that the answer takes as long.
_NOBODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Key:
    """A key without its secret.

    Attributes:
        name: whose it is; several keys may have one name, while one replaces another.
        prefix: eight hexadecimal digits, unique.
        sha256: of the secret, in hexadecimal digits.
        created: UTC, ISO 8601.
        expires: from then on it opens nothing; empty: never.
    """

    name: str
    prefix: str
    sha256: str
    created: str
    expires: str = ""

    def valid(self, now: datetime) -> bool:
        """Whether it opens anything at a time."""
        return not self.expires or now < datetime.fromisoformat(self.expires)


class Keys:
    """The keys in a file. Reading never fails for a missing file: there are no keys then.

    Args:
        path: of the file; its folder is made when the first key is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_at: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}

    def all(self) -> list[Key]:
        """Return the keys, oldest first; read again if the file has changed.

        Raises:
            SettingsError: the file is no file of keys.
        """
        self._follow()
        return sorted(self._keys.values(), key=lambda key: (key.created, key.prefix))

    def check(self, token: str, now: datetime | None = None) -> Key | None:
        """Return the key that a token is, or None; in a time that does not tell how much of it was right.

        Raises:
            SettingsError: the file is no file of keys.
        """
        self._follow()
        match = _TOKEN.fullmatch(token)
        key = self._keys.get(match[1]) if match else None
        given = hashlib.sha256((match[2] if match else "").encode()).hexdigest()
        equal = hmac.compare_digest(given, key.sha256 if key else _NOBODY)
        return key if key and equal and key.valid(now or _now()) else None

    def create(self, name: str, days: float | None = None) -> tuple[Key, str]:
        """Make a key and return it with its token, which cannot be shown again.

        Args:
            name: whose it is.
            days: after which it expires; None: never.

        Raises:
            SettingsError: a name that is none, or no time.
            EnvironmentProblem: the file cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise SettingsError(f"key name {name!r}: give 1 to 64 letters, digits, spaces and . _ @ -")
        if days is not None and not 0 < days <= 36_500:
            raise SettingsError(f"a key that is valid for {days} days: give a number above 0, up to 36500.")
        with self._changing() as keys:
            key, token = _new(name, days, set(keys))
            keys[key.prefix] = key
        return key, token

    def revoke(self, which: str) -> list[Key]:
        """Remove the key with a prefix, or all keys of a name, and return them.

        Raises:
            SettingsError: there are none.
        """
        with self._changing() as keys:
            gone = _selected(keys, which, self.path)
            for key in gone:
                del keys[key.prefix]
        return gone

    def rotate(self, which: str, grace_hours: float = 24.0, days: float | None = None) -> tuple[Key, str]:
        """Make a new key of the same name; the old ones go on opening for ``grace_hours``, so that nobody is shut out.

        Raises:
            SettingsError: there is no such key, or it is of several names.
        """
        if not 0 <= grace_hours <= 24 * 365:
            raise SettingsError(f"{grace_hours} hours of grace: give a number from 0 to 8760.")
        with self._changing() as keys:
            old = _selected(keys, which, self.path)
            end = (_now() + timedelta(hours=grace_hours)).isoformat(timespec="seconds")
            for key in old:
                keys[key.prefix] = replace(key, expires=min(key.expires, end) if key.expires else end)
            key, token = _new(old[0].name, days, set(keys))
            keys[key.prefix] = key
        return key, token

    def _follow(self) -> None:
        """Read the file if it is another one than the last time."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._keys, self._read_at = {}, None
            return
        at = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if at != self._read_at:
            self._keys, self._read_at = _parse(self.path), at

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """Yield the keys to be changed, alone, and write them in one step."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as problem:
            raise EnvironmentProblem(f"{self.path} cannot be written: {problem.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = _parse(self.path) if self.path.exists() else {}
            keys = {prefix: key for prefix, key in keys.items() if key.valid(_now() - REMEMBERED)}
            yield keys
            _write(self.path, keys)
        finally:
            os.close(lock)


def _new(name: str, days: float | None, taken: set[str]) -> tuple[Key, str]:
    prefix = next(prefix for prefix in iter(lambda: secrets.token_hex(4), "") if prefix not in taken)
    secret = secrets.token_urlsafe(32)
    expires = (_now() + timedelta(days=days)).isoformat(timespec="seconds") if days is not None else ""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return Key(name, prefix, digest, _now().isoformat(timespec="seconds"), expires), f"wf_{prefix}_{secret}"


def _selected(keys: dict[str, Key], which: str, path: Path) -> list[Key]:
    found = [keys[which]] if which in keys else [key for key in keys.values() if key.name == which]
    if not found:
        raise SettingsError(f"{path} has no key with the prefix or name '{which}': list them with `keys list`.")
    return found


def _parse(path: Path) -> dict[str, Key]:
    try:
        keys = [Key(**fields) for fields in json.loads(path.read_text(encoding="utf-8"))["keys"]]
        for key in keys:
            key.valid(_now())
        return {key.prefix: key for key in keys}
    except OSError as problem:
        raise SettingsError(f"key file {path} cannot be read: {problem.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(f"{path} is not a key file: move it away and make new keys.") from None


def _write(path: Path, keys: dict[str, Key]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps({"keys": [asdict(key) for key in keys.values()]}, indent=1) + "\n"
    try:
        file = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)
        draft.replace(path)
    except OSError as problem:
        raise EnvironmentProblem(f"{path} cannot be written: {problem.strerror}.") from None


def _now() -> datetime:
    return datetime.now(timezone.utc)

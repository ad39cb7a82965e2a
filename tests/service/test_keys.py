"""Who is let in, and what is left on the disk of it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workload_forecast.errors import EnvironmentProblem, SettingsError
from workload_forecast.service.keys import Keys


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "service" / "keys.json")


def later(**time: float) -> datetime:
    return datetime.now(timezone.utc) + timedelta(**time)


def test_a_key_opens_and_is_nowhere_to_be_read(keys: Keys) -> None:
    key, token = keys.create("batch client")
    assert keys.check(token) == key
    assert Keys(keys.path).check(token) == key
    secret = token[len("wf_12345678_") :]
    for path in keys.path.parent.iterdir():
        assert secret not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token.startswith(f"wf_{key.prefix}_")
    assert secret not in repr(keys.all())


@settings(max_examples=200, deadline=None)
@given(change=st.integers(0, 54), by=st.characters(codec="utf-8"))
def test_no_other_token_opens(tmp_path_factory: pytest.TempPathFactory, change: int, by: str) -> None:
    keys = Keys(tmp_path_factory.mktemp("keys") / "keys.json")
    _, token = keys.create("a")
    other = token[:change] + by + token[change + 1 :]
    assert (keys.check(other) is not None) == (other == token)


@pytest.mark.parametrize(
    "token", ["", "wf_", "wf_00000000_" + "A" * 43, "Bearer x", "é" * 55, "wf_0000000g_" + "A" * 43]
)
def test_what_is_no_key_opens_nothing(keys: Keys, token: str) -> None:
    assert keys.check(token) is None
    keys.create("a")
    assert keys.check(token) is None


def test_a_key_expires(keys: Keys) -> None:
    _, token = keys.create("a", days=1)
    assert keys.check(token, later(hours=23))
    assert keys.check(token, later(hours=25)) is None


def test_a_revoked_key_is_closed_for_services_that_run(keys: Keys) -> None:
    service = Keys(keys.path)
    key, token = keys.create("a")
    _, kept = keys.create("b")
    assert service.check(token)
    assert keys.revoke(key.prefix) == [key]
    assert service.check(token) is None
    assert service.check(kept)
    assert [found.name for found in service.all()] == ["b"]


def test_rotation_lets_both_in_for_a_while(keys: Keys) -> None:
    _, old = keys.create("a")
    key, new = keys.rotate("a", grace_hours=2)
    assert key.name == "a"
    assert keys.check(old)
    assert keys.check(new)
    assert keys.check(old, later(hours=3)) is None
    assert keys.check(new, later(hours=3))


def test_rotation_does_not_prolong_a_life(keys: Keys) -> None:
    _, old = keys.create("a", days=1 / 24)
    keys.rotate("a", grace_hours=100)
    assert keys.check(old, later(hours=2)) is None


def test_changes_at_once_are_all_kept(keys: Keys) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: Keys(keys.path).create(f"client {number}"), range(40)))
    assert len(keys.all()) == 40
    assert all(keys.check(token) == key for key, token in made)


@pytest.mark.parametrize("name", ["", "a\nb", "-x", "x" * 65, "é"])
def test_odd_names_are_refused(keys: Keys, name: str) -> None:
    with pytest.raises(SettingsError, match="key name"):
        keys.create(name)
    assert not keys.path.exists()


def test_errors_say_what_to_do(keys: Keys, tmp_path: Path) -> None:
    for act in (keys.revoke, keys.rotate):
        with pytest.raises(SettingsError, match=r"has no key with the prefix or name 'x': list them"):
            act("x")
    with pytest.raises(SettingsError, match="above 0"):
        keys.create("a", days=0)
    with pytest.raises(SettingsError, match="0 to 8760"):
        keys.rotate("a", grace_hours=-1)
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        Keys(tmp_path / "file" / "keys.json").create("a")


@pytest.mark.parametrize("content", ["", "[]", '{"keys": 1}', '{"keys": [{"name": "a"}]}', '{"keys": [null]}'])
def test_a_damaged_file_is_an_error_and_is_left_as_it_is(keys: Keys, content: str) -> None:
    keys.path.parent.mkdir()
    keys.path.write_text(content)
    for act in (keys.all, lambda: keys.check("x"), lambda: keys.create("a")):
        with pytest.raises(SettingsError, match="is not a key file"):
            act()
    assert keys.path.read_text() == content


def test_a_key_that_expired_long_ago_is_forgotten_at_the_next_change(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.create("short", days=1)
    keys.create("for ever")
    in_a_week, in_two_months = later(days=7), later(days=60)
    monkeypatch.setattr("workload_forecast.service.keys._now", lambda: in_a_week)
    keys.create("next")
    assert {key.name for key in keys.all()} == {"short", "for ever", "next"}
    monkeypatch.setattr("workload_forecast.service.keys._now", lambda: in_two_months)
    keys.create("last")
    assert {key.name for key in keys.all()} == {"for ever", "next", "last"}

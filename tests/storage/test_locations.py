"""Every form of an address is understood, means one place, and never carries a secret."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workload_forecast.errors import SettingsError
from workload_forecast.storage.locations import Location, parse_location
from workload_forecast.storage.patterns import is_pattern, literal_head, matches

ACCOUNT = st.from_regex(r"\A[a-z0-9]{3,24}\Z")
CONTAINER = st.from_regex(r"\A[a-z0-9]{1,10}(-[a-z0-9]{2,9}){1,3}\Z") | st.sampled_from(["$root", "$web", "abc"])
SEGMENT = st.text(
    st.characters(codec="utf-8", exclude_characters="/", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12
).filter(lambda text: text not in {".", ".."})
#: Without the characters that Hadoop's forms and URLs treat differently, or that look like a signature's.
PLAIN_SEGMENT = SEGMENT.filter(lambda text: not set(text) & set("%?#&;=:@"))
PATH = st.lists(SEGMENT, max_size=4).map("/".join)
PLAIN_PATH = st.lists(PLAIN_SEGMENT, max_size=4).map("/".join)
SUFFIX = st.sampled_from(
    ["core.windows.net", "core.chinacloudapi.cn", "core.usgovcloudapi.net", "core.cloudapi.de", "storage.azure.net"]
)


@given(ACCOUNT, CONTAINER, PLAIN_PATH, SUFFIX)
def test_equivalent_forms_are_one_location(account: str, container: str, path: str, suffix: str) -> None:
    forms = [
        f"wasb://{container}@{account}.blob.{suffix}/{path}",
        f"wasbs://{container}@{account}.blob.{suffix}/{path}",
        f"WASBS://{container}@{account.upper()}.blob.{suffix}//{path}/",
        f"abfs://{container}@{account}.dfs.{suffix}/./{path}",
        f"abfss://{container}@{account}.dfs.{suffix}/{path}//",
        f"https://{account}.blob.{suffix}/{container}/{path}",
        f"https://{account}.blob.{suffix}:443/{quote(container, safe='')}/{quote(path)}",
        f"http://{account}.dfs.{suffix}/{container}/{quote(path)}/",
    ]
    if suffix == "core.windows.net":
        forms += [f"az://{container}/{path}", f"abfss://{container}/{path}"]
    places = {parse_location(form, account, {}) for form in forms}
    assert places == {Location(path, container, f"https://{account}.blob.{suffix}")}


@given(ACCOUNT, CONTAINER, PATH, st.sampled_from(["127.0.0.1:10000", "localhost:1", "[::1]:10000", "azurite"]))
@example("abc", "abc", "a?sig=1", "azurite")
@settings(max_examples=300)
def test_the_canonical_form_means_the_same_location(account: str, container: str, path: str, host: str) -> None:
    for endpoint in (f"https://{account}.blob.core.windows.net", f"http://{host}/{account}"):
        location = Location(path, container, endpoint)
        again = parse_location(str(location), environment={})
        assert again == location
        assert again.account == account
        assert str(again) == str(location)


@given(PATH, st.lists(SEGMENT, min_size=1, max_size=3))
def test_join_and_below_are_inverse(path: str, parts: list[str]) -> None:
    for folder in (Location(path, "abc", "https://abc.blob.core.windows.net"), parse_location("/" + path.lstrip("~"))):
        below = folder.join(*parts)
        assert below.below(folder) == "/".join(parts)
        assert below.name == parts[-1]
        assert below == folder.join("/".join(parts)) == folder.join("", *parts, ".")


@given(PATH)
def test_fixed_prefix_and_glob_part_make_the_path(path: str) -> None:
    for location in (Location(path, "abc", "https://abc.blob.core.windows.net"), parse_location("/x/" + path)):
        prefix, rest = location.fixed_prefix, location.glob_part
        assert not prefix.is_pattern
        assert bool(rest) == location.is_pattern
        if rest:
            assert f"{prefix.path.rstrip('/')}/{rest}".lstrip("/") == location.path.lstrip("/")
            assert is_pattern(rest.split("/")[0])
        else:
            assert prefix == location


def test_local_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    for text, path in {
        "a/b.csv": f"{tmp_path}/a/b.csv",
        "./a//b.csv/": f"{tmp_path}/a/b.csv",
        "//a/b": "/a/b",
        "~/a": "/home/somebody/a",
        "file:///a/b": "/a/b",
        "link/../a": f"{tmp_path}/link/../a",  # what '..' means is known to the file system alone
        "a?sig=not-a-secret": f"{tmp_path}/a?sig=not-a-secret",
    }.items():
        location = parse_location(text, environment={})
        assert (location.path, location.is_local, str(location)) == (path, True, path)
        assert location.as_path() == Path(path)


def test_the_account_of_a_short_form() -> None:
    connection = "AccountName=conn;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/conn/"
    known = {"AZURE_STORAGE_CONNECTION_STRING": connection}
    for account, environment, endpoint in [
        ("given", {}, "https://given.blob.core.windows.net"),
        ("", {"AZURE_STORAGE_ACCOUNT": "named"}, "https://named.blob.core.windows.net"),
        ("", known, "http://127.0.0.1:1/conn"),
        ("conn", known, "http://127.0.0.1:1/conn"),
        ("given", {**known, "AZURE_STORAGE_ACCOUNT": "named"}, "https://given.blob.core.windows.net"),
        (
            "",
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=cn0;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn"},
            "https://cn0.blob.core.chinacloudapi.cn",
        ),
    ]:
        assert parse_location("az://data/x", account, environment).endpoint == endpoint
    with pytest.raises(SettingsError, match=r"^az://data/x names no storage account: set storageAccount"):
        parse_location("az://data/x", "", {})
    with pytest.raises(SettingsError, match="storage account 'No-Account'"):
        parse_location("az://data/x", "No-Account", {})


SECRET = "c2VjcmV0LXNpZ25hdHVyZQ%3D%3D"


@pytest.mark.parametrize(
    "text",
    [
        f"https://acc.blob.core.windows.net/data/x.csv?sv=2024-08-04&ss=b&sig={SECRET}",
        f"https://acc.blob.core.windows.net/data/x.csv?sig={SECRET}",
        f"https://acc.blob.core.windows.net/data/x.csv?SIG={SECRET}&se=2030",
        f"wasbs://data@acc.blob.core.windows.net/*.csv?sp=r&sig={SECRET}",
        f"http://127.0.0.1:10000/devstoreaccount1/data/x?se=1&sig={SECRET}",
        f"https://acc:{SECRET}@acc.blob.core.windows.net/data/x",
        f"wasbs://data:{SECRET}@acc.blob.core.windows.net/x",
        f"az://data/x;AccountKey={SECRET}",
        f"s3://data/x?sig={SECRET}",
    ],
)
def test_a_secret_in_a_location_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError, match="take the credential out of the location") as caught:
        parse_location(text, "acc", {})
    assert SECRET not in str(caught.value)
    assert "AZURE_STORAGE_SAS_TOKEN" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("s3://bucket/x", "'s3' is no scheme"),
        ("https://example.org/data/x", "'example.org' is not the host"),
        ("https://acc.blob.core.windows.net.example.org/data/x", "is not the host"),
        ("https://acc.blob.core.windows.net:8443/data/x", "port 8443"),
        ("https://acc.blob.core.windows.net/data/x?snapshot=1", "query"),
        ("https://acc.blob.core.windows.net/data/x#1", "query or fragment"),
        ("https://me@acc.blob.core.windows.net/data", "user name"),
        ("https://acc.blob.core.windows.net", "'' is no container"),
        ("https://acc.blob.core.windows.net/Data/x", "'Data' is no container"),
        ("https://acc.blob.core.windows.net/a--b/x", "'a--b' is no container"),
        ("https://acc.blob.core.windows.net:port/data/x", "not a URL"),
        ("wasbs://data@example.org/x", "'example.org' is not the host"),
        ("wasbs://ab@acc.blob.core.windows.net/x", "'ab' is no container"),
        ("az://data/a/../../x", r"'\.\.' leads out"),
        ("https://acc.blob.core.windows.net/data/a/%2E%2E/x", r"'\.\.' leads out"),
        ("az://data/a\nb", "control characters"),
        ("", "empty"),
    ],
)
def test_what_is_no_location_is_said_in_one_line(text: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as caught:
        parse_location(text, "acc", {})
    assert "\n" not in str(caught.value)


def test_nothing_leads_out_of_a_folder() -> None:
    folder = parse_location("az://data/a", "acc", {})
    with pytest.raises(SettingsError, match="leads out"):
        folder.join("b", "../../c")
    for other in ("az://data/ab", "az://other/a/b", "/a/b", "az://data/a"):
        with pytest.raises(ValueError, match="is not below"):
            parse_location(other, "acc", {}).below(folder)
    with pytest.raises(ValueError, match="is not local"):
        folder.as_path()


NAMES = st.lists(st.sampled_from(["a", "b", "ab", ".a", "a.csv", "[", "]"]), min_size=1, max_size=3).map("/".join)
PATTERNS = st.lists(
    st.sampled_from(["a", "*", "**", "?", "[ab]", "[!a]", "*.csv", ".*", "a*", "*b", "[", "[]", "**a", ".a"]),
    min_size=1,
    max_size=4,
).map("/".join)


@given(st.sets(NAMES, min_size=1, max_size=8), PATTERNS)
@settings(max_examples=200, deadline=None)
def test_patterns_match_as_on_a_disk(tmp_path_factory: pytest.TempPathFactory, names: set[str], pattern: str) -> None:
    top = tmp_path_factory.mktemp("disk")
    for name in sorted(names, key=len, reverse=True):
        if not (top / name).exists() and not any((top / part).is_file() for part in Path(name).parents):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).touch()
    files = {os.path.relpath(Path(folder) / name, top) for folder, _, found in os.walk(top) for name in found}
    expected = glob.glob(pattern, root_dir=top, recursive=True)  # noqa: PTH207
    assert {name for name in files if matches(pattern, name)} == {n for n in expected if (top / n).is_file()}
    assert all(name.startswith(literal_head(pattern)) for name in files if matches(pattern, name))

"""No secret survives, and nothing else is touched. All secrets here are made up."""

from __future__ import annotations

import base64
import json
import random
import string
from urllib.parse import quote, quote_plus

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from workload_forecast.targets.redaction import looks_secret, redact, secret_values

SECRET = "Zq8/x+Wv=3 k&'é"
PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAAplanted1\nAAAAplanted2\n-----END OPENSSH PRIVATE KEY-----"

# text before the secret, secret, text after it
RECOGNISED = [
    ("https://user:", "hunter2", "@host.example/path?a=1"),
    ("jdbc:postgresql://me:", "p@ss:word", "@db:5432/x"),
    ("AccountName=store;AccountKey=", "abc+/1==", ";EndpointSuffix=core.windows.net"),
    ("SharedAccessSignature=", "sv=2020&sig=abc%3D", ";x"),
    ("https://store/blob?sv=2020-01-01&se=2030&sig=", "Ab%2Bc%3D", "&sp=r"),
    ("https://bucket/x?X-Amz-Date=1&X-Amz-Signature=", "0123abcd", " GET"),
    ("curl -H 'Authorization: Bearer ", "eyabc.def-_~1", "' https://x"),
    ("Authorization: Basic ", "dXNlcjpwYXNz", "\nHost: x"),
    ("{'authorization': '", "raw-value", "', 'x': 1}"),
    ("sent Bearer ", "abcdef0123", " to the host"),
    ("connect(user=me, password=", "hunter2", ", host=x)"),
    ("connect(user='me', password='", "two words, and more", "', host='x')"),
    ("retry with token=", "t0ps3cret", " after 3 s"),
    ("export DB_PASSWORD=", "two words; and more", "\nexport X=1"),
    ("STORAGE_KEY=", "abc def", "\nDURATION=FULL\n"),
    ("X=1\nPGPASSWORD=", "hunter2", "\n"),
    ('{"storageKey": "', 'with \\"quotes\\" and, commas', '", "storageAccount": "a"}'),
    ('{"a": {"client_secret":"', "x", '"}}'),
    ('"{\\"password\\": \\"', "inner", '\\", \\"b\\": 1}"'),
    ("storage:\n  storageKey: ", "two words", "\n  container: c\n"),
    ("- api-key: ", "'quoted it''s'", "\n- x: 1\n"),
    ("password: |\n  ", "line one\n\n  line two", "\n\nother: 1\n"),
    ("- secret: >-\n    ", "line one", "\n- x: 1\n"),
    ("Driver=x;PWD=", "{a;b c}", ";Port=1"),
    ("x password=", 'ab{cd[e(f"g', " y"),
    ("PASSWORD=", "a=b c", "\r\nX=1"),
    ('"tokens": [', '"a", "b"', "]"),
    ('{"key": "db_password", "value": "', "hunter2", '"}'),
    ("docker run -e MLFLOW_TRACKING_TOKEN=", "abc", " image run"),
    ("submit --password ", "hunter2", " --name x"),
    ("submit --db-token=", "hunter2", " --name x"),
    ("key: ", "AKIAABCDEFGHIJKLMNOP", ""),
    ("using ", "AKIAABCDEFGHIJKLMNOP", " in eu"),
    ("aws_secret_access_key = ", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "\nregion = x"),
    ("key is ", "A" * 86 + "==", " here"),
    ("with ", "dapi" + "0a" * 16, " on"),
    ("with ", "ghp_" + "aB3" * 12, " on"),
    ("cookie ", "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln-_", ";"),
    ("log ", PRIVATE_KEY, " end"),
    ('{"k": "', PRIVATE_KEY.replace("\n", "\\n"), '"}'),
    ("cut off ", "-----BEGIN RSA PRIVATE KEY-----\nMIIEplanted\nABCD", ""),
]

HARMLESS = [
    "",
    "2026-06-01 12:00:00 INFO etl: 4,012,345 rows read = 4,000,000 used + 12,345 quarantined (dirt=0.3 %)",
    "mlflow run . -e etl -P duration=ONE_MONTH -P debug=FILTER_IP -b docker -c targets/local.runconfig.json",
    '{"name": "gpu", "type": "remote-docker", "address": "10.0.0.1", "port": 22, "username": "me"}',
    '{"key": "mlflow.user", "value": "root"}',
    "key: mlflow.source.name",
    "ssh://me@host.example:22/home/me, https://host:5000/api?x=1&y=2, git@host:me/x.git",
    "SSH_KEY_FILE=/home/me/.ssh/id_ed25519\nidentityFile: ~/.ssh/id\nMAX_TOKENS=100\nTOKENIZERS_PARALLELISM=false",
    "monkey=1 keyboard: us passenger=2 tokenizer=x compass: north author=me secretary of state",
    "the token was refused; the key is accepted, the bearer of bad news: Bearer abc",
    "def connect(password: str, token: str = '', *, key: bytes | None = None) -> None:",
    "password: ${DB_PASSWORD}\ntoken=$TOKEN key={{ key }} secret=<your secret> password=***\npassword: null",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "sha256:065665c041c42a5938ed220bdcd7230f22527fbec085e1853d2402c8a3615d9d",
    "spark.sql.shuffle.partitions=8\nspark.driver.memory: 4g\nkey=etl\n\n\ttrailing spaces  \r\n",
]


@pytest.mark.parametrize(("before", "secret", "after"), RECOGNISED)
def test_secrets_that_show_themselves(before: str, secret: str, after: str) -> None:
    found = redact(before + secret + after)
    assert secret not in found
    assert "planted" not in found
    assert found.startswith(before.removesuffix("'"))
    assert found.endswith(after)
    assert found.count("***") == 1
    assert redact(found) == found


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_stays(text: str) -> None:
    assert redact(text) == text
    assert redact(text, [SECRET, "", "abc"]) == text


def test_a_mixed_text_keeps_all_that_is_no_secret() -> None:
    text = "\n".join(HARMLESS)
    lines = redact("\n".join([text, *(before + secret + after for before, secret, after in RECOGNISED), text]))
    assert lines.startswith(text)
    assert lines.endswith(text)


@pytest.mark.parametrize("dump", [json.dumps, lambda content: json.dumps(content, indent=2), repr])
def test_dumped_settings_are_still_readable(dump: object) -> None:
    assert callable(dump)
    content = {"storageKey": "a\"b'c, d", "nested": {"password": "x y", "port": 22}, "list": [{"sas": "s"}]}
    found = redact(dump(content))
    assert yaml.safe_load(found) == {
        "storageKey": "***",
        "nested": {"password": "***", "port": 22},
        "list": [{"sas": "***"}],
    }


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower().replace("zq8", "Zq8").replace("wv", "Wv"),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        SECRET.replace("&", "&amp;"),
    ],
)
def test_given_secrets_in_all_forms(form: str) -> None:
    assert redact(f"before {form} after", [SECRET]) == "before *** after"


@given(st.binary(max_size=5), st.binary(max_size=5))
def test_given_secrets_inside_longer_base64(before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + SECRET.encode() + after).decode()
    found = redact(f"x {encoded} y", [SECRET])
    rest = found.removeprefix("x ").removesuffix(" y")
    assert "***" in rest
    # what is left stands for the other bytes and at most the outer bits of the secret
    assert len(rest.replace("***", "")) <= len(base64.b64encode(before + after)) + 8


def test_overlapping_secrets_leave_no_rest() -> None:
    assert redact("x abcdef y", ["abcd", "cdef"]) == "x *** y"
    assert redact("x aaaaaa y", ["aaaa"]) == "x *** y"
    assert redact("abcdabcd", ["abcd"]) == "******"


def test_lines_of_a_given_key_with_prefixes() -> None:
    found = redact("| first line of it\n| second line of it\n", ["first line of it\nsecond line of it"])
    assert found == "| ***\n| ***\n"


secrets = st.text(st.characters(codec="utf-8"), min_size=4, max_size=20)


@given(st.lists(secrets, min_size=1, max_size=4), st.lists(st.text(max_size=8)), st.randoms())
@example(["x***"], ["x", ""], random.Random(0))
@example(["***x", "abcd"], ["", "x"], random.Random(0))
@example(["****"], [], random.Random(0))
def test_no_given_secret_survives(given_secrets: list[str], texts: list[str], order: random.Random) -> None:
    parts = [*given_secrets, *texts, *(quote(secret, safe="") for secret in given_secrets)]
    order.shuffle(parts)
    found = redact("".join(parts), given_secrets)
    assert not [secret for secret in given_secrets if secret in found]


WORD = st.text(string.ascii_letters + string.digits + ".,;()[]{}<>!?%*#é\"' \t\n", max_size=20)


@given(st.lists(WORD))
def test_text_without_assignments_and_secrets_stays(words: list[str]) -> None:
    text = "\n".join(words)
    if "bearer" not in text.lower():
        assert redact(text, ["a secret of somebody else's"]) == text


@given(st.dictionaries(st.sampled_from(["user", "port", "duration", "seed"]), st.text(string.printable)))
def test_settings_without_secret_names_stay(values: dict[str, str]) -> None:
    text = json.dumps(values)
    assert redact(text) == text or any(mark in text for mark in ("=", ":", "earer "))


@given(WORD, st.text(string.ascii_letters + string.digits, min_size=4, max_size=30), WORD)
def test_only_the_secret_goes(before: str, secret: str, after: str) -> None:
    if secret not in before + " " + after and "bearer" not in (before + after).lower():
        assert redact(f"{before} {secret} {after}", [secret]) == f"{before} *** {after}"


@pytest.mark.parametrize(
    "name",
    [
        "storageKey",
        "STORAGE_KEY",
        "key",
        "KEY",
        "PGPASSWORD",
        "db-password",
        "userPassword",
        "Passwd",
        "DB_PWD",
        "passphrase",
        "token",
        "HF_TOKEN",
        "accessToken",
        "mlflow.tracking.token",
        "clientSecret",
        "MY_SECRETS",
        "AZURE_STORAGE_SAS",
        "sasToken",
        "sig",
        "connection_string",
        "ConnectionString",
        "AZURE_STORAGE_CONNECTION_STRING",
        "AWS_SECRET_ACCESS_KEY",
        "apikey",
        "api_keys",
        "credentials",
        "GITHUB_PAT",
        "spark.hadoop.fs.azure.account.key",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "duration",
        "monkey",
        "keyboard",
        "tokenizer",
        "TOKENIZERS_PARALLELISM",
        "passenger",
        "author",
        "compass",
        "sasquatch",
        "path",
        "pattern",
        "SSH_KEY_FILE",
        "keyPath",
        "token_type",
        "MAX_TOKENS",
        "signature",
        "spark.sql.partitions",
        "_",
        "12",
    ],
)
def test_names_of_other_things(name: str) -> None:
    assert not looks_secret(name)


def test_secret_values_of_an_environment() -> None:
    environment = {"DB_PASSWORD": "hunter2", "USE_TOKEN": "true", "API_KEY": "", "PIN_KEY": "abc", "HOME": "/home/me"}
    assert secret_values(environment) == ("hunter2",)

"""Take secrets out of text that leaves the machine: those that are given, and those that show themselves.

A text that might be a secret is rather taken out than left in; everything around it stays as it was.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from html import escape
from urllib.parse import quote, quote_plus

REPLACEMENT = "***"
#: Shorter values are no secrets that one could tell from other text.
SHORTEST = 4

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORD = re.compile(
    r"(?:access|account|api|auth|private|storage)?keys?|\w*tokens?|auth|credentials?|dsn|pat|psk|pwd|sas|sig"
)
# In names of any form: PGPASSWORD, connection_string
_SECRET_PART = re.compile(
    r"password|passwd|passphrase|secret|connectionstring|connstr|sharedaccesssignature|(?:amz|goog)signature"
)
# MAX_TOKENS says how many there may be, SSH_KEY_FILE where a key lies.
_HARMLESS_FIRST = frozenset(("max", "min", "num"))
_HARMLESS_LAST = frozenset(
    ("dir", "directory", "file", "filename", "folder", "length", "location", "name", "path", "type")
)
_PLAIN_VALUE = re.compile(
    r"""["']?(?:|\*+|[|>][-+0-9]*|true|false|yes|no|on|off|null|none|str|bytes|int|\$\w+|\$\{[^}]*\}|<[^>]*>|\{\{[^}]*\}\})["']?""",
    re.IGNORECASE,
)

_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<what>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----"
    r"(?:(?:(?!-----BEGIN ).)*?-----END (?P=what)-----|(?:(?:\r?\n|\\n)[A-Za-z0-9+/=]+(?=[\r\n\\\"']|\Z))*)",
    re.DOTALL,
)
_AUTHORIZATION = (
    r"(?i)(?P<keep>\b(?:proxy-)?authorization[\"']?[ \t]*[:=][ \t]*[\"']?(?:"
    r"(?:basic|bearer|digest|negotiate|token)[ \t]+)?)[^\s\"',;]+"
)
_RECOGNISABLE = tuple(
    re.compile(pattern)
    for pattern in (
        _AUTHORIZATION,
        r"(?P<keep>\b(?:Bearer|bearer|BEARER)[ \t]+)[\w.~+/=-]{6,}",
        r"(?P<keep>://[^\s/:@\"'<>?#]*:)[^\s/\"'<>]+(?=@)",
        r"(?P<keep>(?i:accountkey|sharedaccesskey|sharedaccesssignature)=)[^\s;\"'<>]+",
        r"(?P<keep>[?&;](?i:sig|x-amz-signature|x-goog-signature|access_token|key)=)[^\s&;\"'<>]+",
        r"(?P<keep>(?<![\w-])--?(?i:[\w-]*(?:password|passphrase|token|secret|api-key))[ \t]+)(?!-)[^\s\"']+",
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # Amazon
        r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}==",  # Azure storage
        r"\bdapi[0-9a-f]{32}(?:-\d)?\b",  # Databricks
        r"\b(?:gh[oprsu]_\w{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,}|xox[abprs]-[\w-]{10,})",
        r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*",  # JSON web tokens
    )
)

_NAME = r"(?<![\w.-])(?P<quote>\\?[\"']?)(?P<name>-{0,2}[A-Za-z_][\w.-]*)(?P=quote)"
_QUOTED = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.|'')*'"
# JSON inside a text of JSON: each quote and backslash once more with backslashes
_QUOTED_TWICE = r"\\\"(?:[^\"\\\n]|\\{4}|\\{3}\"|\\\\[^\\\"\n]|\\[^\"\\\n])*\\\""
_END = r"\s\"'&;,"
_REFERENCE = rf"(?:\$\{{[^{{}}\s]*\}}|\{{\{{[^{{}}\n]*\}}\}}|<[^<>\n]*>)(?![^{_END})\]}}>])"
# A bracket at the start opens a list or a mapping (but for ODBC's braces), one at the end closes what is around.
_BARE = rf"\{{[^{{}}\n\"':]+\}}|[^{_END}\[{{](?:(?:[^{_END}]|[\"'](?=\w))*[^{_END}()\]}}>])?"
# NAME=value of a file with environment variables, name: value of YAML: up to the end of the line, spaces and all
_LINE = re.compile(
    r"(?m)^(?P<keep>[ \t]*(?:(?:export[ \t]+)?(?P<variable>[A-Z_][A-Z0-9_]*)=|(?:-[ \t]+)?(?P<entry>[\w.-]+):[ \t]+))"
    r"(?P<value>[^\s\"'|>{\[\\][^\n\r]*?)(?P<after>[ \t]*\r?)$"
)
_BLOCK = re.compile(
    r"(?m)^(?P<keep>(?P<indent>[ \t]*)(?:-[ \t]+)?(?P<name>[\w.-]+):[ \t]*[|>][-+0-9]*[ \t]*\n(?:[ \t]*\n)*"
    r"(?P=indent)[ \t]+)(?P<value>\S[^\n]*(?:\n(?:[ \t]*\n)*(?P=indent)[ \t]+\S[^\n]*)*)"
)
_ASSIGNED = re.compile(rf"(?P<keep>{_NAME}[ \t]*[:=][ \t]*)(?P<value>{_QUOTED_TWICE}|{_QUOTED}|{_REFERENCE}|{_BARE})")
_LIST = re.compile(rf"(?P<keep>{_NAME}[ \t]*[:=][ \t]*\[)(?P<value>[^\[\]]+)")
# MLflow's way of writing tags and parameters
_PAIR = re.compile(
    r"(?P<keep>[\"'](?:key|name)[\"']\s*:\s*[\"'](?P<name>[\w.-]+)[\"']\s*,\s*[\"']value[\"']\s*:\s*)"
    r"(?P<value>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
)


@lru_cache(maxsize=4096)  # logs repeat the same few names on every line
def looks_secret(name: str) -> bool:
    """Whether a variable of this name should hold a secret: ``storageKey``, ``DB_PASSWORD``, ``AZURE_SAS``.

    Names of places and numbers of such things (``SSH_KEY_FILE``, ``MAX_TOKENS``) do not.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words[0] in _HARMLESS_FIRST or words[-1] in _HARMLESS_LAST:
        return False
    return any(map(_SECRET_WORD.fullmatch, words)) or _SECRET_PART.search("".join(words)) is not None


def secret_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of the variables whose names look secret, for :func:`redact`."""
    return tuple(
        value
        for name, value in environment.items()
        if looks_secret(name) and len(value) >= SHORTEST and not _PLAIN_VALUE.fullmatch(value)
    )


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return ``text`` with ``***`` in place of secrets; all other characters stay.

    Args:
        text: anything, such as a log, a settings file, an error.
        secrets: values to take out wherever they stand, also as URL-encoded, Base64, JSON and HTML text. Those shorter
            than four characters are not searched for: they would tear other text apart.
    """
    known = tuple(dict.fromkeys(secret for secret in secrets if len(secret) >= SHORTEST))
    text = _PRIVATE_KEY.sub(REPLACEMENT, _without(text, known))
    text = _BLOCK.sub(_value_taken_out, text)
    for pattern in _RECOGNISABLE:
        text = pattern.sub(lambda match: (match.groupdict().get("keep") or "") + REPLACEMENT, text)
    for pattern in (_PAIR, _LIST, _LINE, _ASSIGNED):
        text = pattern.sub(_value_taken_out, text)
    # What stands beside a replacement may read like another secret that has asterisks; each turn shortens the text.
    while any(secret in text for secret in known):
        text = _without(text, known)
    return text


def _value_taken_out(match: re.Match[str]) -> str:
    groups = match.groupdict()
    name, value = groups.get("name") or groups.get("variable") or groups.get("entry") or "", match["value"]
    if not looks_secret(name) or _PLAIN_VALUE.fullmatch(value) or value.startswith(REPLACEMENT):
        return match[0]
    # `key: mlflow.user` is the key of some pair, and says nothing; `key: 4f9c…` may be a secret.
    if name in {"key", "keys"} and not (len(value) >= 16 and re.search(r"\d", value) and re.search(r"[A-Za-z]", value)):
        return match[0]
    before = re.match(r"\\?[\"']", value)
    mark = before[0] if before and value.endswith(before[0]) else ""
    return f"{match['keep']}{mark}{REPLACEMENT}{mark}{groups.get('after') or ''}"


def _without(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets in any of their forms; those that overlap are taken out as one."""
    spans: list[tuple[int, int]] = []
    for form in {form for secret in secrets for form in _forms(secret)}:
        start = text.find(form)
        while start >= 0:
            spans.append((start, start + len(form)))
            start = text.find(form, start + 1)
    parts, done, end = [], 0, 0
    for first, last in sorted(spans):
        if first >= end:
            parts += [text[done:first], REPLACEMENT]
        end = done = max(end, last)
    return "".join([*parts, text[done:]])


def _forms(secret: str) -> Iterator[str]:
    """The ways in which a secret is written: as it is, and as addresses, headers, JSON, logs and pages write it."""
    yield secret
    encode: Callable[[str], str]
    for encode in (quote, quote_plus, lambda value: quote(value, safe=""), lambda value: quote(value, safe="/:@")):
        encoded = encode(secret)
        yield encoded
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)
    for inside in (json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret)):
        yield inside[1:-1]
    yield escape(secret)
    yield escape(secret, quote=False)
    yield from _base64_forms(secret.encode("utf-8", "surrogatepass"))
    # A key of several lines may be logged with something before each of them.
    yield from (line for line in map(str.strip, secret.splitlines()) if len(line) >= 12)


def _base64_forms(content: bytes) -> Iterator[str]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(content).decode()
        yield encoded
        yield encoded.rstrip("=")
        # Behind one or two other bytes, as in `user:password`, all characters but the outer ones are the secret's own.
        for shift in (0, 1, 2) if len(content) >= 8 else ():
            inner = encode(b"\0" * shift + content).decode().rstrip("=")
            whole = (shift + len(content)) * 8 // 6
            yield inner[(shift * 8 + 5) // 6 : whole]

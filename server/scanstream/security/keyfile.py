"""The key file: what it says, and how a key is added and taken out. TOML, so that it can be reviewed and commented.

    format = "scanstream-keys-1"

    [[key]]
    name = "ann-laptop"
    principal = "ann"
    rights = ["scan"]
    created = 2026-11-27T14:00:00Z
    expires = 2027-02-25T14:00:00Z
    sha256 = "5c1b…"

It holds no key, only digests (apikey.py). Each field is needed but `expires`; one that is not known is refused, as
`expire` would make a key for ever of one that was to end. `format` tells an empty file from one without keys.
"""

import re
import tomllib
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from scanstream.model import Milliseconds, Principal
from scanstream.security.caller import Right
from scanstream.security.names import key_name_of, principal_of

FORMAT = "scanstream-keys-1"
MOST_BYTES = 4 * 1024 * 1024
"""Of a key file: room for some ten thousand keys."""
OF_KEYS = frozenset({Right.SCAN, Right.OPERATE})
"""The rights that a key or a JWT may have; the others are those of scan tokens."""
HEAD = f"""\
# The API keys of a scanstream server. It holds digests only: no key can be read from it.
# `scanstream key create`, `key list` and `key revoke` write it; a server reads it again when it changes.
format = "{FORMAT}"
"""

_FIELDS = ("name", "principal", "rights", "created", "expires", "sha256")
_HEADER = re.compile(r"""\s*\[\[\s*(?:key|"key"|'key')\s*\]\]""")
_BESIDE = re.compile(r"\s*(?:#.*)?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_WHEN = "write a date and a time in UTC, as in 2027-02-25T14:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One key, as far as it is known."""

    name: str
    principal: Principal
    rights: frozenset[Right]
    created: Milliseconds
    expires: Milliseconds | None
    digest: bytes = field(repr=False)


def parsed(content: bytes) -> tuple[Entry, ...]:
    """The keys of a file, in its order.

    :raises ValueError: naming the line, and what is wrong there; never with a digest
    """
    text, document = _document(content)
    if document.get("format") != FORMAT:
        raise ValueError(f'this is no key file: it does not say format = "{FORMAT}"')
    for name in document.keys() - {"format", "key"}:
        raise ValueError(f"{_place(text, None, name)}there is no field {name!r:.60}")
    tables = document.get("key", [])
    if not isinstance(tables, list):
        raise ValueError(f"{_place(text, None, 'key')}write each key under a line [[key]]")  # noqa: TRY004  # see above
    entries: dict[str, Entry] = {}
    digests: set[bytes] = set()
    for number, table in enumerate(tables):
        entry = _entry(text, number, table)
        if entry.name in entries:
            raise ValueError(f"{_place(text, number, 'name')}another key is called {entry.name}, too")
        if entry.digest in digests:
            raise ValueError(f"{_place(text, number, 'sha256')}this is the same key as another one")
        entries[entry.name] = entry
        digests.add(entry.digest)
    return tuple(entries.values())


def _document(content: bytes) -> tuple[str, dict[str, Any]]:
    try:
        text = content.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: this is no text in UTF-8") from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"this is no TOML: {error}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, a thousand brackets
        raise ValueError("this is no key file: it nests deeper, or has longer numbers, than any") from None


def _entry(text: str, number: int, table: object) -> Entry:
    if not isinstance(table, dict):
        raise ValueError(f"{_place(text, number, '')}write each key under a line [[key]]")  # noqa: TRY004  # see above
    for name in table.keys() - set(_FIELDS):
        raise ValueError(f"{_place(text, number, name)}a key has no field {name!r:.60}")
    read: dict[str, Any] = {}
    for name, reader in _READERS.items():
        if name not in table and name != "expires":
            raise ValueError(f"{_place(text, number, '')}this key has no {name}")
        try:
            read[name] = reader(table[name]) if name in table else None
        except ValueError as error:
            raise ValueError(f"{_place(text, number, name)}{name}: {error}") from None
    return Entry(digest=read.pop("sha256"), **read)


def rights_of(given: object) -> frozenset[Right]:
    """The rights that are named.

    :raises ValueError: naming those that keys may have
    """
    known = ", ".join(f'"{right}"' for right in sorted(OF_KEYS))
    if not isinstance(given, list) or not given or not all(isinstance(right, str) for right in given):
        raise ValueError(f"name at least one of {known}, in brackets")
    for right in given:
        if right not in OF_KEYS:
            raise ValueError(f"there is no right {right!r:.60}; there are {known}")
    return frozenset(Right(right) for right in given)


def _moment(given: object) -> Milliseconds:
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise ValueError(_WHEN)
    try:
        return int(given.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError(_WHEN) from None


def _digest(given: object) -> bytes:
    if not isinstance(given, str) or not _DIGEST.fullmatch(given):
        raise ValueError("write the SHA-256 of the key in 64 hexadecimal digits; `scanstream key create` does")
    return bytes.fromhex(given)


_READERS: Mapping[str, Any] = {
    "name": key_name_of,
    "principal": principal_of,
    "rights": rights_of,
    "created": _moment,
    "expires": _moment,
    "sha256": _digest,
}


def _place(text: str, number: int | None, name: str) -> str:
    """The line of a field of a key, or of the key's head; of a file that is written otherwise the key's number."""
    lines = text.split("\n")
    heads = [at for at, line in enumerate(lines) if _HEADER.match(line)]
    if number is not None and number >= len(heads):
        return f"key number {number + 1}: "
    start, stop = (0, heads[0] if heads else len(lines)) if number is None else _span(heads, number, len(lines))
    at = [at for at in range(start, stop) if name and re.match(rf"\s*['\"]?{re.escape(name)}['\"]?\s*=", lines[at])]
    return f"line {(at[0] if at else start) + 1}: "


def _span(heads: list[int], number: int, end: int) -> tuple[int, int]:
    return heads[number], heads[number + 1] if number + 1 < len(heads) else end


def with_key(content: bytes, entry: Entry) -> bytes:
    """The file with one more key, all else as it stands.

    :raises ValueError: if it is none, or is written in a way that this cannot add to
    """
    before = parsed(content) if content else ()
    text = (content.decode() or HEAD).rstrip("\n") + "\n\n" + "\n".join(_written(entry)) + "\n"
    return _seen(text, (*before, entry))


def _written(entry: Entry) -> Iterator[str]:
    yield "[[key]]"
    yield f'name = "{entry.name}"'
    yield f"principal = {_quoted(entry.principal)}"
    yield "rights = [" + ", ".join(f'"{right}"' for right in sorted(entry.rights)) + "]"
    yield f"created = {_time(entry.created)}"
    if entry.expires is not None:
        yield f"expires = {_time(entry.expires)}"
    yield f'sha256 = "{entry.digest.hex()}"'


def _quoted(printable: str) -> str:
    """A basic string of TOML, of what can be printed: only quotes and backslashes need an escape."""
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _time(at: Milliseconds) -> str:
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def without_key(content: bytes, name: str) -> bytes:
    """The file without this key and the comment right above it, all else as it stands.

    :raises KeyError: if there is no such key
    :raises ValueError: if the file is none, or is written in a way that this cannot take out of
    """
    before = parsed(content)
    numbers = [number for number, entry in enumerate(before) if entry.name == name]
    if not numbers:
        raise KeyError(name)
    lines = content.decode().split("\n")
    heads = [at for at, line in enumerate(lines) if _HEADER.match(line)]
    if numbers[0] < len(heads):
        start, stop = _span(heads, numbers[0], len(lines))
        while stop - 1 > start and _BESIDE.fullmatch(lines[stop - 1]):  # what stands above the next one is its own
            stop -= 1
        while start and lines[start - 1].lstrip().startswith("#"):
            start -= 1
        del lines[start:stop]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n"
    return _seen(text, tuple(entry for entry in before if entry.name != name))


def _seen(text: str, expected: tuple[Entry, ...]) -> bytes:
    """The text, once it was seen that it says this and nothing else."""
    content = text.encode()
    try:
        right = parsed(content) == expected
    except ValueError:
        right = False
    if not right:
        raise ValueError("it is not written as `scanstream key` writes it; write each key under a line [[key]]")
    return content

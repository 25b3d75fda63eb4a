"""The key file: read, refused with its line, changed without a word of it being lost."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanstream.model import Principal
from scanstream.security.apikey import PREFIX, digest_of, new_key
from scanstream.security.caller import Right
from scanstream.security.keyfile import HEAD, Entry, parsed, with_key, without_key

DIGEST = digest_of("one").hex()
KEY = f"""
[[key]]
name = "ann-laptop"
principal = "ann"
rights = ["scan"]
created = 2026-11-27T14:00:00Z
expires = 2027-02-25T14:00:00+01:00
sha256 = "{DIGEST}"
"""
FILE = HEAD + KEY


def test_a_file_says_who_may_what_until_when() -> None:
    [entry] = parsed(FILE.encode())

    assert (entry.name, entry.principal, entry.rights) == ("ann-laptop", Principal("ann"), frozenset({Right.SCAN}))
    assert (entry.created, entry.expires) == (1_795_788_000_000, 1_803_560_400_000)
    assert entry.digest == digest_of("one")
    assert DIGEST not in repr(entry)
    assert "digest" not in repr(entry)
    assert parsed(HEAD.encode()) == ()


WRONG = {
    "empty": ("", "this is no key file"),
    "something else": ("[section]\nkey = 1\n", "this is no key file"),
    "no TOML": (HEAD + "[[key]]\nname = ann\n", "this is no TOML: Invalid value (at line 5, column 8)"),
    "cut off": (FILE[:-20], "this is no TOML: "),
    "another format": (FILE.replace("keys-1", "keys-2"), "this is no key file"),
    "keys in one line": (HEAD + "key = [1]\n", "key number 1: write each key under a line [[key]]"),
    "a key that is none": (HEAD + 'key = "ssk_s3cret"\n', "line 4: write each key under a line [[key]]"),
    "a field too many": (FILE.replace("expires", "expire"), "line 10: a key has no field 'expire'"),
    "a field too many at the top": ("version = 1\n" + FILE, "line 1: there is no field 'version'"),
    "no digest": (FILE.replace("sha256", "# sha256"), "line 5: this key has no sha256"),
    "no creation": (FILE.replace("created", "#"), "line 5: this key has no created"),
    "a right that is none": (FILE.replace('["scan"]', '["scan", "root"]'), "line 8: rights: there is no right 'root'"),
    "a right of tokens": (FILE.replace('["scan"]', '["read"]'), "line 8: rights: there is no right 'read'"),
    "rights as a text": (FILE.replace('["scan"]', '"scan"'), "line 8: rights: name at least one of"),
    "no rights": (FILE.replace('["scan"]', "[]"), "line 8: rights: name at least one of"),
    "rights that are numbers": (FILE.replace('["scan"]', "[1]"), "line 8: rights: name at least one of"),
    "no principal": (FILE.replace('"ann"', '""'), "line 7: principal: a principal has 1 to 200"),
    "a long principal": (FILE.replace('"ann"', f'"{"a" * 201}"'), "line 7: principal: a principal has 1 to 200"),
    "a principal of two lines": (FILE.replace('"ann"', '"a\\nb"'), "line 7: principal: a principal has 1 to 200"),
    "a name with a slash": (FILE.replace("ann-laptop", "../ann"), "line 6: name: a key is called by"),
    "a time without offset": (FILE.replace("14:00:00Z", "14:00:00"), "line 9: created: write a date and a time"),
    "a day": (FILE.replace("2027-02-25T14:00:00+01:00", "2027-02-25"), "line 10: expires: write a date and a time"),
    "a time as a text": (FILE.replace("2026-11-27T14:00:00Z", '"now"'), "line 9: created: write a date and a time"),
    "the key itself": (FILE.replace(DIGEST, "ssk_s3cret"), "line 11: sha256: write the SHA-256 of the key"),
    "a name twice": (FILE + KEY, "line 14: another key is called ann-laptop, too"),
    "a digest twice": (FILE + KEY.replace("ann-", "bob-"), "line 19: this is the same key as another one"),
    "brackets": (HEAD + "a = " + "[" * 5000, "this is no"),
    "a long number": (HEAD + "a = " + "9" * 5000, "this is no"),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_with_its_line(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parsed(text.encode())
    assert str(caught.value).startswith(says)
    assert "s3cret" not in str(caught.value)
    assert DIGEST not in str(caught.value)


def test_bytes_that_are_no_text_are_named_with_their_line() -> None:
    with pytest.raises(ValueError, match=r"^line 12: this is no text in UTF-8"):
        parsed(FILE.encode() + b"\xff\xfe")


@settings(max_examples=60)
@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: (FILE + text).encode("utf-8", "replace")))
def test_whatever_a_file_holds_it_is_read_or_refused(content: bytes) -> None:
    with suppress(ValueError):
        parsed(content)


PRINTABLE = st.characters(exclude_categories=["C", "Z"], include_characters=" ")
"""What `str.isprintable` says of a character."""
entries = st.builds(
    Entry,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,9}", fullmatch=True),
    principal=st.text(PRINTABLE, min_size=1, max_size=200).map(Principal),
    rights=st.sets(st.sampled_from([Right.SCAN, Right.OPERATE]), min_size=1).map(frozenset),
    created=st.integers(0, 4_000_000_000).map(lambda seconds: seconds * 1000),
    expires=st.none() | st.integers(0, 4_000_000_000).map(lambda seconds: seconds * 1000),
    digest=st.binary(min_size=32, max_size=32),
)


@settings(max_examples=20)
@given(st.lists(entries, max_size=4, unique_by=(lambda entry: entry.name, lambda entry: entry.digest)), st.data())
def test_what_is_added_is_there_and_what_is_taken_out_is_not(keys: list[Entry], data: st.DataObject) -> None:
    content = b""
    for entry in keys:
        content = with_key(content, entry)
    assert parsed(content or HEAD.encode()) == tuple(keys)

    while keys:
        gone = data.draw(st.sampled_from(keys))
        keys.remove(gone)
        content = without_key(content, gone.name)
        assert parsed(content) == tuple(keys)


COMMENTED = f"""{HEAD}
# Ann's laptop,
# which is old.
[[key]]   # the first
name = "a"
principal = "ann"
rights = [
  "scan",
]
created = 2026-11-27T14:00:00Z
sha256 = "{digest_of("a").hex()}"
# until she has another

# Bob's.
[[ key ]]
name = "b"
principal = "bob"
rights = ["scan"]
created = 2026-11-27T14:00:00Z
sha256 = "{digest_of("b").hex()}"
"""


def test_the_rest_of_a_file_stays_as_it_was_written() -> None:
    [ann, bob] = parsed(COMMENTED.encode())
    more = with_key(COMMENTED.encode(), replace(ann, name="c", digest=digest_of("c")))
    assert more.decode().startswith(COMMENTED)

    without_ann = without_key(more, "a").decode()
    assert "Ann's laptop" not in without_ann
    assert "# Bob's.\n[[ key ]]\n" in without_ann
    assert without_ann.startswith(HEAD)
    without_bob = without_key(more, "b").decode()
    assert "Bob's" not in without_bob
    assert "# which is old.\n[[key]]   # the first\n" in without_bob
    assert bob in parsed(without_ann.encode())
    with pytest.raises(KeyError):
        without_key(more, "nobody")


WRITTEN_OTHERWISE = (
    HEAD
    + f'''key = [
  {{name = "a", principal = "p", rights = ["scan"], created = 2026-11-27T14:00:00Z, sha256 = "{"0" * 64}"}},
]
'''
)
IN_A_TEXT = FILE.replace('"ann"', '"""\\\n[[key]]"""')
"""Something that looks like the head of a key, and is part of a text."""


@pytest.mark.parametrize("text", [WRITTEN_OTHERWISE, FILE.replace("[[key]]", '[["key"]]'), IN_A_TEXT])
def test_a_file_that_is_written_otherwise_is_never_spoilt(text: str) -> None:
    before = parsed(text.encode())
    more = Entry(
        name="more",
        principal=Principal("p"),
        rights=frozenset({Right.SCAN}),
        created=0,
        expires=None,
        digest=digest_of("more"),
    )
    for changed, after in (
        (partial(with_key, text.encode(), more), (*before, more)),
        (partial(without_key, text.encode(), before[0].name), before[1:]),
    ):
        with suppress(ValueError):
            assert parsed(changed()) == after


def test_keys_are_what_nobody_can_guess() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {len(PREFIX) + 43}
    assert all(key.startswith(PREFIX) for key in keys)


def test_the_file_of_the_page_is_one(request: pytest.FixtureRequest) -> None:
    page = (Path(request.config.rootpath) / "docs" / "security.md").read_text()
    block = page.partition("```toml\n")[2].partition("```")[0]
    [entry] = parsed(block.encode())
    assert (entry.name, entry.principal) == ("ann-laptop", "ann")

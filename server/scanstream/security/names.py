"""What principals and keys may be called."""

import re

from scanstream.model import Principal

LONGEST_PRINCIPAL = 200
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def principal_of(text: object) -> Principal:
    """The text itself, where it can be a principal: 1 to 200 printable characters.

    :raises ValueError: if it cannot
    """
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_PRINCIPAL or not text.isprintable():
        raise ValueError(f"a principal has 1 to {LONGEST_PRINCIPAL} printable characters")
    return Principal(text)


def key_name_of(text: object) -> str:
    """The text itself, where a key may be called so.

    :raises ValueError: if it may not
    """
    if not isinstance(text, str) or not _KEY.fullmatch(text):
        raise ValueError("a key is called by at most 64 letters, digits and . _ @ -, a letter or a digit first")
    return text

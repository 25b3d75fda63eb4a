"""What is told of other people's words: printable, bounded, and without a credential that may be among them."""

import re

LONGEST_CREDENTIAL = 8192
"""So far beyond what is told of a text one is looked for: else half of it might be told, and not be known."""
CREDENTIAL_BEGINS = re.compile(r"ssk_|sst_|eyJ")
"""What a key or token begins with."""
_CREDENTIAL = re.compile(
    r"(?<![A-Za-z0-9])(ssk_|sst_)[A-Za-z0-9_-]{20,}|(ssk_|sst_)[A-Za-z0-9_-]{40,}|(eyJ)[A-Za-z0-9_-]+\.[A-Za-z0-9._-]*"
)
"""An API key, a scan token, a JWT: most of it by itself, or all of it at the end of another word."""


def legible(text: str, most: int) -> str:
    """The text without what cannot be printed, nor any key, JWT or scan token, cut to `most` characters.

    Somebody may have put one where a name or an id belongs; what is told of that gets into logs and onto screens.
    """
    if CREDENTIAL_BEGINS.search(text):
        text = _CREDENTIAL.sub(r"\1\2\3…", text[: most + LONGEST_CREDENTIAL])
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return cut if cut.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in cut)

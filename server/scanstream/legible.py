"""What is told of other people's words: printable, bounded, and without a credential that may be among them."""

import re

LONGEST_CREDENTIAL = 8192
_CREDENTIAL = re.compile(r"\b(ssk_|sst_)[A-Za-z0-9_-]{20,}|\b(eyJ)[A-Za-z0-9_-]+\.[A-Za-z0-9._-]*")
"""An API key, a scan token, a JWT: whole, or most of it."""


def legible(text: str, most: int) -> str:
    """The text without what cannot be printed, nor any key, JWT or scan token, cut to `most` characters.

    Somebody may have put one where a name or an id belongs; what is told of that gets into logs and onto screens.
    """
    if "ssk_" in text or "sst_" in text or "eyJ" in text:
        text = _CREDENTIAL.sub(r"\1\2…", text[: most + LONGEST_CREDENTIAL])
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return cut if cut.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in cut)

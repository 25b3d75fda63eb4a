"""When to try again: soon at first, then less and less often, and never in step with others."""

import math
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_SECONDS = 5.0
LONGEST_SECONDS = 600.0
SPREAD = 0.2
"""By so much of it, up or down, a pause is another one."""
LONGEST_ASKED_SECONDS = 900.0
"""What a receiver may ask for with `Retry-After`: a scan answers for an hour, unless it is set otherwise."""


def pause_after(number: int, asked: float | None = None) -> float:
    """Seconds from one attempt to the next: 5, twice as many each time, at most 600, and by up to a fifth another.

    :param number: of the attempt that came to nothing, from 1
    :param asked: what the receiver has asked for; it is given that, within bounds, and never less than we take anyway
    """
    pause = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(number - 1, 30))
    pause *= random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311  # no secret
    return max(pause, min(asked or 0.0, LONGEST_ASKED_SECONDS))


def retry_after(value: str | None) -> float | None:
    """Seconds that `Retry-After` asks for (RFC 9110, section 10.2.3); None if it says nothing that can be read."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return seconds if seconds > 0 and math.isfinite(seconds) else None

"""How long to wait before trying again: exponential, with full jitter above the shortest pause. Pure."""

from collections.abc import Callable

SHORTEST_SECONDS = 0.25
LONGEST_SECONDS = 10.0
MOST_DOUBLINGS = 32


def pause(failures: int, random: Callable[[], float], retry_after: float = 0.0) -> float:
    """Seconds.

    :param failures: in a row, this one too: 1 or more
    :param random: from 0 to 1
    :param retry_after: seconds that the server asked for: the pause comes after them, lest all come at once
    """
    ceiling = min(LONGEST_SECONDS, SHORTEST_SECONDS * 2.0 ** min(failures, MOST_DOUBLINGS))
    return retry_after + SHORTEST_SECONDS + random() * (ceiling - SHORTEST_SECONDS)

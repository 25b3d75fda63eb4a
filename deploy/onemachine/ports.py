"""Ports that stay ours while nobody listens on them."""

import random
import socket
from contextlib import ExitStack

LOWEST, HIGHEST = 20_000, 32_767
"""From 32,768 up an outgoing connection may be given the port of a server that is down just now."""


def free_ports(count: int) -> list[int]:
    """So many different ports of loopback on which nobody listens.

    :raises OSError: if there are not so many
    """
    candidates = random.sample(range(LOWEST, HIGHEST + 1), HIGHEST + 1 - LOWEST)
    found: list[int] = []
    with ExitStack() as held:
        for port in candidates:
            if len(found) == count:
                return found
            listener = held.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    raise OSError(f"there are no {count} free ports from {LOWEST} to {HIGHEST}")


def require_free(port: int) -> None:
    """See to it that we may listen on this port of loopback.

    :raises OSError: saying why not
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as who listens there then
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError as error:
            raise OSError(
                f"port {port} cannot be listened on: {error.strerror}; give another one, as in --port 0"
            ) from None

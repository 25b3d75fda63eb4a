"""What of scanstream is installed: the client and the commands of one always are, the server is an extra."""

import sys
from importlib.util import find_spec

from scanstream.flag import Unusable

OF_THE_SERVER = ("httptools", "numpy", "prometheus_client", "starlette", "uvicorn", "uvloop", "werkzeug")
"""The modules that the extra `server` of pyproject.toml brings (tests/test_packaging.py holds the two equal)."""


def needs_server(command: str) -> None:
    """See to it that this command finds the server's part.

    :raises Unusable: if that is not installed; says what to install
    """
    needed = [name for name in OF_THE_SERVER if name != "uvloop" or sys.platform != "win32"]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise Unusable(
            f"{command} needs the server's part of scanstream, which is not installed here "
            f"(no {', '.join(missing)}); install it with: pip install 'scanstream[server]'"
        )

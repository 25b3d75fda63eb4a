"""HTTP/1.0 knows no chunks: an answer whose length is not known ends with its connection (RFC 9112, section 6.3).

uvicorn sends chunks all the same; relies on the range of uvicorn that pyproject.toml pins (tests/wire/test_http.py).
"""

import sys
from typing import Any

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_WITHOUT_BODY = (204, 304)


def close_delimited(cycle: RequestResponseCycle, app: Any) -> Any:
    """The application, for one request of HTTP/1.0. uvicorn closes after each of these already."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        unmeasured = False

        async def whole(message: Message) -> None:
            nonlocal unmeasured
            if message["type"] == "http.response.start":
                measured = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
                unmeasured = not measured and scope["method"] != "HEAD" and message["status"] not in _WITHOUT_BODY
                if unmeasured:
                    cycle.chunked_encoding = False
                    cycle.expected_content_length = sys.maxsize
            elif unmeasured and not message.get("more_body", False):
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, whole)

    return answered

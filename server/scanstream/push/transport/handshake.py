"""The handshake of a WebSocket, of a request that was parsed already: its refusals are problems, as everywhere."""

from typing import Any

from websockets.exceptions import InvalidHeader
from websockets.http11 import Response
from websockets.protocol import Protocol
from websockets.server import ServerProtocol

from scanstream.errors import Forbidden, Internal, MalformedRequest, MethodNotAllowed, UpgradeRequired
from scanstream.push.confined import confined_by
from scanstream.push.problem import problem


class Handshake(ServerProtocol):
    """websockets' own, whose refusals are problems."""

    strict = False
    """Whether the host that was asked for is to be asked by TLS only from now on."""

    def skip_request(self) -> None:
        """Frames are next: the request is parsed already."""
        self.parser.close()
        self.parser = Protocol.parse(self)
        next(self.parser)

    def reject(self, status: Any, text: str) -> Response:
        """See `ServerProtocol.reject`; its words repeat what was sent, a key may be in that, and ours do not."""
        response = super().reject(status, text)
        kind = {403: Forbidden, 405: MethodNotAllowed, 426: UpgradeRequired}.get(
            response.status_code, Internal if response.status_code >= 500 else MalformedRequest
        )
        told = problem(kind(self._words() or response.reason_phrase), confined_by(strict=self.strict))
        response.body = bytes(told.body)
        for name, value in told.headers.items():
            if name in response.headers:
                del response.headers[name]
            response.headers[name] = value
        response.headers["Sec-WebSocket-Version"] = "13"  # RFC 6455, section 4.4
        return response

    def _words(self) -> str:
        """What is wrong with the handshake."""
        error = self.handshake_exc
        if isinstance(error, InvalidHeader):
            what = "is missing" if error.value is None else "is not as it must be"
            return f"This is no handshake of a WebSocket: its header {error.name} {what} (RFC 6455, section 4.2.1)"
        return "" if error is None else "This is no handshake of a WebSocket (RFC 6455, section 4.2.1)"

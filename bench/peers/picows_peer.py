"""picows: WebSocket frames in Cython, straight on the transport."""

import asyncio

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from driving import listener, obey

subscribers: set[WSTransport] = set()


class Follower(WSListener):  # type: ignore[misc]  # picows has no types where it is not installed
    """Subscribed until it leaves; what it says is sent back."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """It has joined."""
        subscribers.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """It says something."""
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """It has left."""
        subscribers.discard(transport)


def admit(_request: WSUpgradeRequest) -> Follower:
    """Whoever comes."""
    return Follower()


async def tell(text: str) -> None:
    """Everybody."""
    payload = text.encode()
    for transport in subscribers:
        transport.send(WSMsgType.TEXT, payload)
    await asyncio.sleep(0)


async def main() -> None:
    """Serve, and obey."""
    server = await ws_create_server(admit, sock=listener())
    async with server:
        await obey(tell)


if __name__ == "__main__":
    uvloop.run(main())

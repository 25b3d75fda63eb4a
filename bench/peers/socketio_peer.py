"""python-socketio on uvicorn, as its documentation has it: `emit` to everybody."""

import asyncio
import json

import socketio
import uvicorn
import uvloop

from driving import listener, obey

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")


async def tell(text: str) -> None:
    """Everybody."""
    await server.emit("update", json.loads(text))


async def main() -> None:
    """Serve, and obey."""
    config = uvicorn.Config(
        socketio.ASGIApp(server),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    serving = uvicorn.Server(config)
    task = asyncio.create_task(serving.serve([listener()]))
    await obey(tell)
    serving.should_exit = serving.force_exit = True
    await task


if __name__ == "__main__":
    uvloop.run(main())

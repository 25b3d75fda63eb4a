"""What people write first: Starlette on uvicorn, and a loop that sends to one WebSocket after the other."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from driving import listener, obey

STATUS = {
    "success": True,
    "scan_id": "scan_01a218e602457247ba8728dad23c202a07fe92dd65",
    "status": "scanning",
    "phase": "running",
    "message": "Scanning",
    "market": "synthetic",
    "filters": {},
    "progress": {
        "strategies_completed": 0,
        "total_strategies": 1,
        "shards_completed": 0,
        "total_shards": 4096,
        "opportunities_found_so_far": 0,
        "percentage": 0,
    },
    "strategies": {
        "so_long_as_280_bytes_take": {
            "status": "pending",
            "shards_completed": 0,
            "total_shards": 4096,
            "opportunities_found": 0,
            "elapsed_ms": 0,
        }
    },
    "total_opportunities": 0,
    "created_at": "2026-11-23T14:00:00.000Z",
    "started_at": "2026-11-23T14:00:00.000Z",
    "poll_url": "/opportunities/status/scan_01a218e602457247ba8728dad23c202a07fe92dd65",
    "results_url": "/opportunities/results/scan_01a218e602457247ba8728dad23c202a07fe92dd65",
    "cursor": "7b5a453e-2.0",
    "partial_results": [],
}
"""The state of a scan, as ours is when the bench asks for it."""
subscribers: set[WebSocket] = set()
held = 0
"""Requests that wait for news."""
KEEP_ALIVE_SECONDS = 75
"""As ours: else what is to be idle would be closed."""


async def follow(websocket: WebSocket) -> None:
    """Subscribe until the client leaves; what it says is sent back."""
    await websocket.accept()
    subscribers.add(websocket)
    try:
        async for text in websocket.iter_text():
            await websocket.send_text(text)
    finally:
        subscribers.discard(websocket)


async def broadcast(text: str) -> None:
    """One after the other."""
    for websocket in tuple(subscribers):
        await websocket.send_text(text)


async def status(_request: Request) -> Response:
    """A JSON route, as short as can be."""
    return JSONResponse(STATUS)


async def echo(request: Request) -> Response:
    """The body that came, read and written as JSON."""
    return JSONResponse(await request.json(), status_code=202)


@contextmanager
def counted() -> Iterator[None]:
    """While this request waits; the end of the server ends it."""
    global held  # noqa: PLW0603  # as short as can be
    held += 1
    try:
        with suppress(asyncio.CancelledError):
            yield
    finally:
        held -= 1


async def poll(_request: Request) -> Response:
    """A long poll: it waits for news, of which there are none."""
    with counted():
        await asyncio.Event().wait()
    return JSONResponse(STATUS)


async def events(_request: Request) -> Response:
    """An event stream: the state, and whatever comes after it."""

    async def stream() -> AsyncIterator[str]:
        with counted():
            yield "event: snapshot\ndata: {}\n\n"
            await asyncio.Event().wait()

    return StreamingResponse(stream(), media_type="text/event-stream")


async def count(_request: Request) -> Response:
    """How many wait."""
    return PlainTextResponse(str(held))


ROUTES = [
    WebSocketRoute("/ws", follow),
    Route("/status", status),
    Route("/echo", echo, methods=["POST"]),
    Route("/poll", poll),
    Route("/events", events),
    Route("/held", count),
]


async def main() -> None:
    """Serve, and obey."""
    config = uvicorn.Config(
        Starlette(routes=ROUTES),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener()]))
    await obey(broadcast)
    server.should_exit = True
    server.force_exit = True
    await serving


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())

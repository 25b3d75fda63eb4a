"""A bucket of NATS' object store: large values under names, in pieces, laid out as all its clients do (ADR-20).

    $O.<bucket>.C.<upload>   the pieces of one upload, in order
    $O.<bucket>.M.<name>     how many there are, and what they hash to; written behind them, once

nats-py has a client for it, which gives up at the first answer that does not come, and waits for ever for a piece that
does not. Here a piece is published until it is acknowledged, and read as everything else is (tail.py).
"""

import base64
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from scanstream.engines.nats.answers import RETRY_AFTER, ApiError, ConflictError, Stored, milliseconds
from scanstream.engines.nats.connection import Connection
from scanstream.engines.nats.streams import DUPLICATES_SECONDS
from scanstream.engines.nats.tail import Message, replay
from scanstream.errors import StoreUnavailable
from scanstream.model import Milliseconds

PIECE_BYTES = 128 * 1024
"""What the other clients take, too: a step of the loop each, and a short one."""
WAITING_BYTES = 8 * 1024 * 1024
"""That may have come and not been written yet."""
SILENCE_SECONDS = 10.0
"""Without a piece for so long the value is given up: it may have been removed."""
DEAD_SECONDS = 600.0
"""An upload that has got no piece for so long, and was not finished, is nobody's: its node died in the middle."""


class Info(NamedTuple):
    """What is kept of a value beside its pieces."""

    upload: str
    digest: str
    """`SHA-256=` and the hash in base64, for use in a URL."""


def of_bucket(connection: Connection, name: str) -> dict[str, Any]:
    """What the stream of a bucket must be."""
    bucket = connection.names.stream(name)
    return {
        "name": f"OBJ_{bucket}",
        "subjects": [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_age": 0,
        "duplicate_window": DUPLICATES_SECONDS * 10**9,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
    }


class _Subjects(NamedTuple):
    """What there was in the stream …"""

    there: list[str]
    at: Milliseconds
    """… when, by the server's clock."""


class Bucket:
    """One bucket, whose stream is there."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = connection.names.stream(name)
        self._stream = f"OBJ_{self._name}"

    async def has(self, name: str) -> bool:
        """Whether there is something under this name; one that was put there a moment ago may be missed."""
        return await self._info(name) is not None

    async def put(self, name: str, file: Path) -> None:
        """Keep what is in the file under a name that has nothing yet; else nothing is changed.

        :raises StoreUnavailable: if it is not taken; then nothing of it is there
        """
        if await self.has(name):
            return
        upload = self._connection.fresh()
        pieces, size, hashed = 0, 0, hashlib.sha256()
        kept = False
        try:
            async with await anyio.open_file(file, "rb") as source:
                while piece := await source.read(PIECE_BYTES):
                    await self._publish(self._pieces(upload), piece, {"Nats-Msg-Id": f"{upload}:{pieces}"})
                    hashed.update(piece)
                    pieces, size = pieces + 1, size + len(piece)
            about = {
                "name": name,
                "bucket": self._name,
                "nuid": upload,
                "size": size,
                "chunks": pieces,
                "digest": _named(hashed.digest()),
                "mtime": datetime.now(UTC).isoformat(),
                "options": {"max_chunk_size": PIECE_BYTES},
            }
            once = {"Nats-Expected-Last-Subject-Sequence": "0", "Nats-Msg-Id": f"{upload}:info"}
            with suppress(ConflictError):  # another node has put the same there meanwhile
                await self._publish(self._about(name), json.dumps(about).encode(), once)
                kept = True
        finally:
            if not kept:
                with anyio.move_on_after(SILENCE_SECONDS, shield=True), suppress(StoreUnavailable):
                    await self._purge(self._pieces(upload))

    async def get(self, name: str, file: Path) -> bool:
        """Write what is kept under the name into the file; False if there is nothing, or not whole.

        :raises StoreUnavailable: if nobody answers
        """
        info = await self._info(name)
        last = None if info is None else await self._last(self._pieces(info.upload))
        if info is None or last is None:
            return False
        hashed = hashlib.sha256()
        with anyio.move_on_after(SILENCE_SECONDS) as patience:
            async with await anyio.open_file(file, "wb") as target, self._brought(info, last.seq) as waiting:
                while (piece := await waiting.taken()) is not None:
                    patience.deadline = anyio.current_time() + SILENCE_SECONDS
                    hashed.update(piece)
                    await target.write(piece)
        return not patience.cancelled_caught and _named(hashed.digest()) == info.digest

    @asynccontextmanager
    async def _brought(self, info: Info, until: int) -> AsyncIterator["_Waiting"]:
        """The pieces, as they come, up to the last one's place."""
        waiting = _Waiting(until)
        read = partial(replay, first=1, until=until, only=self._pieces(info.upload), full=waiting.full)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, self._connection, self._stream, waiting.bring)
            yield waiting
            tasks.cancel_scope.cancel()

    async def keep(self, names: set[str]) -> None:
        """Remove all but these.

        :raises StoreUnavailable: if nobody answers
        """
        for name in await self._names():
            info = None if name in names else await self._info(name)
            if info is not None:
                await self._purge(self._about(name))  # first: what is told of is whole
                await self._purge(self._pieces(info.upload))
        await self.sweep()

    async def _names(self) -> list[str]:
        about = self._about("")
        found = await self._subjects(f"{about}>")
        return [base64.urlsafe_b64decode(subject.removeprefix(about)).decode() for subject in found.there]

    async def sweep(self) -> None:
        """Remove the pieces of uploads that were never finished, and never will be.

        :raises StoreUnavailable: if nobody answers
        """
        found = await self._subjects(self._pieces(">"))
        finished = {info.upload for name in await self._names() if (info := await self._info(name)) is not None}
        for pieces in found.there:
            last = None if pieces.rpartition(".")[2] in finished else await self._last(pieces)
            if last is not None and found.at - last.at > DEAD_SECONDS * 1000:
                await self._purge(pieces)

    async def _subjects(self, which: str) -> "_Subjects":
        found = await self._asked(f"STREAM.INFO.{self._stream}", {"subjects_filter": which})
        return _Subjects(list(found["state"].get("subjects") or {}), milliseconds(found["ts"]))

    def _pieces(self, upload: str) -> str:
        return f"$O.{self._name}.C.{upload}"

    def _about(self, name: str) -> str:
        return f"$O.{self._name}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    async def _publish(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        await self._connection.publish(subject, body, headers=headers, stream=self._stream)

    async def _info(self, name: str) -> Info | None:
        last = await self._last(self._about(name))
        if last is None:
            return None
        about = json.loads(last.data)
        return None if about.get("deleted") else Info(about["nuid"], about["digest"])

    async def _last(self, subject: str) -> Stored | None:
        return await self._connection.last(self._stream, subject)

    async def _purge(self, subject: str) -> None:
        await self._asked(f"STREAM.PURGE.{self._stream}", {"filter": subject})

    async def _asked(self, request: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._connection.request_api(request, body)
        except ApiError as error:
            raise StoreUnavailable(f"NATS: {error}", retry_after=RETRY_AFTER) from error


def _named(hashed: bytes) -> str:
    """A hash as it is written down."""
    return f"SHA-256={base64.urlsafe_b64encode(hashed).decode()}"


class _Waiting:
    """Pieces that have come, until somebody takes them."""

    def __init__(self, last: int) -> None:
        """`last`: the place of the last one."""
        self._last = last
        self._held: deque[bytes] = deque()
        self._size = 0
        self._whole = False
        self._arrived = anyio.Event()

    def bring(self, message: Message) -> None:
        """One more."""
        self._held.append(message.data)
        self._size += len(message.data)
        self._whole = message.seq == self._last
        self._arrived.set()

    def full(self) -> bool:
        """Whether no more should come."""
        return self._size >= WAITING_BYTES

    async def taken(self) -> bytes | None:
        """The next one; None when there are no more."""
        while not self._held:
            if self._whole:
                return None
            self._arrived = anyio.Event()
            await self._arrived.wait()
        self._size -= len(piece := self._held.popleft())
        return piece

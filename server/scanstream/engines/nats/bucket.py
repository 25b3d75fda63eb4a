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
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from scanstream.engines.nats.connection import RETRY_AFTER, ApiError, ConflictError, Connection
from scanstream.engines.nats.tail import Message, replay
from scanstream.errors import StoreUnavailable

PIECE_BYTES = 128 * 1024
"""What the other clients take, too: a step of the loop each, and a short one."""
WAITING_BYTES = 8 * 1024 * 1024
"""That may have come and not been written yet."""
SILENCE_SECONDS = 10.0
"""Without a piece for so long the value is given up: it may have been removed."""
DUPLICATES_SECONDS = 120
NO_MESSAGE = 10037


class Info(NamedTuple):
    """What is kept of a value beside its pieces."""

    seq: int
    """Its place in the stream, behind them."""
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
                "digest": f"SHA-256={base64.urlsafe_b64encode(hashed.digest()).decode()}",
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
        if info is None:
            return False
        hashed = hashlib.sha256()
        with anyio.move_on_after(SILENCE_SECONDS) as patience:
            async with await anyio.open_file(file, "wb") as target, self._brought(name, info) as waiting:
                while (piece := await waiting.taken()) is not None:
                    patience.deadline = anyio.current_time() + SILENCE_SECONDS
                    hashed.update(piece)
                    await target.write(piece)
        whole = f"SHA-256={base64.urlsafe_b64encode(hashed.digest()).decode()}"
        return not patience.cancelled_caught and whole == info.digest

    @asynccontextmanager
    async def _brought(self, name: str, info: Info) -> AsyncIterator["_Waiting"]:
        """The pieces, as they come."""
        waiting = _Waiting(info.seq)
        filters = [self._pieces(info.upload), self._about(name)]
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                until = info.seq
                await replay(
                    self._connection,
                    self._stream,
                    waiting.bring,
                    first=1,
                    until=until,
                    filters=filters,
                    full=waiting.full,
                )

            tasks.start_soon(read)
            yield waiting
            tasks.cancel_scope.cancel()

    async def keep(self, names: set[str]) -> None:
        """Remove all but these.

        :raises StoreUnavailable: if nobody answers
        """
        about = f"$O.{self._name}.M."
        found = await self._asked(f"STREAM.INFO.{self._stream}", {"subjects_filter": f"{about}>"})
        for subject in (found or {}).get("state", {}).get("subjects") or {}:
            name = base64.urlsafe_b64decode(subject.removeprefix(about)).decode()
            info = None if name in names else await self._info(name)
            if info is not None:
                await self._purge(self._about(name))  # first: what is told of is whole
                await self._purge(self._pieces(info.upload))

    def _pieces(self, upload: str) -> str:
        return f"$O.{self._name}.C.{upload}"

    def _about(self, name: str) -> str:
        return f"$O.{self._name}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    async def _publish(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        await self._connection.publish(subject, body, headers=headers, stream=self._stream)

    async def _info(self, name: str) -> Info | None:
        found = await self._asked(f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": self._about(name)})
        if found is None:
            return None
        about = json.loads(base64.b64decode(found["message"]["data"]))
        return None if about.get("deleted") else Info(int(found["message"]["seq"]), about["nuid"], about["digest"])

    async def _purge(self, subject: str) -> None:
        await self._asked(f"STREAM.PURGE.{self._stream}", {"filter": subject})

    async def _asked(self, request: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """What JetStream says; None where there is no such message."""
        try:
            return await self._connection.request_api(request, body)
        except ApiError as error:
            if error.code == NO_MESSAGE:
                return None
            raise StoreUnavailable(f"NATS: {error}", retry_after=RETRY_AFTER) from error


class _Waiting:
    """Pieces that have come, until somebody takes them."""

    def __init__(self, end: int) -> None:
        """`end`: the place of what stands behind the last one."""
        self._end = end
        self._held: deque[bytes] = deque()
        self._size = 0
        self._over = False
        self._arrived = anyio.Event()

    def bring(self, message: Message) -> None:
        """One more, or what is behind the last."""
        if message.seq == self._end:
            self._over = True
        else:
            self._held.append(message.data)
            self._size += len(message.data)
        self._arrived.set()

    def full(self) -> bool:
        """Whether no more should come."""
        return self._size >= WAITING_BYTES

    async def taken(self) -> bytes | None:
        """The next one; None when there are no more."""
        while not self._held:
            if self._over:
                return None
            self._arrived = anyio.Event()
            await self._arrived.wait()
        self._size -= len(piece := self._held.popleft())
        return piece

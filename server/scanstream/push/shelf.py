"""What everybody who visits is sent: read once, compressed once, and not sent again to who has it.

On a line of 20 KB a second the page's modules take a quarter of a minute as they are. Compressed are whole files and
texts of our own, and nothing that streams or is polled: a stream that is compressed is held back.
"""

import gzip
import os
import stat
from email.utils import formatdate
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, PathLike, StaticFiles
from starlette.types import Scope

from scanstream.push.query import takes_gzip

MOST_HELD = 4 * 1024 * 1024
"""Bytes of files in memory, in both forms. A file for which there is no room is sent as it is, from the disk."""
VARIES = {"vary": "Accept-Encoding"}


class Text:
    """Bytes that are sent to many, as they are and compressed. These differ, so each form has a tag of its own."""

    def __init__(self, plain: bytes) -> None:
        packed = gzip.compress(plain, mtime=0)
        self._plain = (plain, {"etag": _tag(plain)})
        self._packed = (packed, {"etag": _tag(packed), "content-encoding": "gzip"})
        self._shorter = len(packed) < len(plain)
        self.size = len(plain) + len(packed)
        """Bytes in memory."""

    def form(self, request: Request) -> tuple[bytes, dict[str, str]]:
        """The one that the caller wants (RFC 9110, section 12.5.3), and the headers that say which it is."""
        return self._packed if self._shorter and takes_gzip(request) else self._plain


class Copy(NamedTuple):
    """A file, as it was read."""

    version: tuple[int, ...]
    text: Text


class Shelf(StaticFiles):
    """The files of one directory. One that is written anew is read anew."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        self._copies: dict[PathLike, Copy] = {}
        self._writing = Lock()
        """The first visit asks for all files at once, each in a thread of its own."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """See `StaticFiles.lookup_path`. It is called in a thread, so the file is read and compressed here."""
        full_path, found = super().lookup_path(path)
        if found is not None and stat.S_ISREG(found.st_mode):
            self._copy(full_path, found)
        return full_path, found

    def _copy(self, path: str, found: os.stat_result) -> None:
        version = found.st_mtime_ns, found.st_size, found.st_ino
        copy = self._copies.get(path)
        if copy is not None and copy.version == version:
            return
        with self._writing:
            others = sum(copy.text.size for other, copy in self._copies.items() if other != path)
            if others + 2 * found.st_size <= MOST_HELD:
                self._copies[path] = Copy(version, Text(Path(path).read_bytes()))
            else:
                self._copies.pop(path, None)

    def file_response(
        self, full_path: PathLike, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """See `StaticFiles.file_response`."""
        request = Request(scope)
        plain = FileResponse(full_path, status_code, VARIES, stat_result=stat_result)
        copy = self._copies.get(full_path)
        if copy is None:
            return self._unless_known(plain, request)
        told = {"last-modified": formatdate(stat_result.st_mtime, usegmt=True)}
        return self.answer(copy.text, request, str(plain.media_type), told)

    def answer(self, text: Text, request: Request, media_type: str, headers: dict[str, str] | None = None) -> Response:
        """A text, as the caller wants it; 304 where it is the one they have (RFC 9110, section 13.1.2)."""
        body, told = text.form(request)
        whole = Response(body, headers={**(headers or {}), **told, **VARIES}, media_type=media_type)
        return self._unless_known(whole, request)

    def _unless_known(self, whole: Response, request: Request) -> Response:
        unchanged = self.is_not_modified(whole.headers, request.headers)
        return NotModifiedResponse(whole.headers) if unchanged else whole


def _tag(body: bytes) -> str:
    """A strong one (RFC 9110, section 8.8.3), the same on every node."""
    return f'"{sha256(body).hexdigest()[:32]}"'

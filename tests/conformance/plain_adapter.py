"""An adapter of a client that is unlike ours: the standard library, one thread, `GET /opportunities/events/{scan_id}`.

It asks with `Expect` and a body in chunks, as some HTTP libraries do, comes back with `Last-Event-ID`, and takes
every cursor for a word.
"""

import http.client
import json
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

PAUSE_SECONDS = 0.3
GONE = (OSError, http.client.HTTPException)
ABSENT = {404: "not_found", 410: "expired"}


def tell(event: str, **told: Any) -> None:
    """One line."""
    print(json.dumps({"event": event, **told}), flush=True)


def merged(state: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Patches hold no null that counts."""
    deeper = {
        key: merged(state[key], value)
        for key, value in patch.items()
        if isinstance(value, dict) and isinstance(state.get(key), dict)
    }
    return {**state, **patch, **deeper}


class Reader:
    """One scan over event streams."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self.state: dict[str, Any] = {}
        self.found: list[dict[str, Any]] = []
        self.cursor = ""

    def discover(self, request: dict[str, Any]) -> str:
        """Start it."""
        connection = http.client.HTTPConnection(self._host, timeout=30)
        body = json.dumps(request).encode()
        pieces = iter([body[:5], body[5:]])
        connection.request(
            "POST",
            "/opportunities/discover",
            pieces,
            {"content-type": "application/json", "transfer-encoding": "chunked", "idempotency-key": "one"},
            encode_chunked=True,
        )
        return str(json.loads(connection.getresponse().read())["scan_id"])

    def follow(self, scan_id: str) -> str:
        """To its end, or to why there is none."""
        tell("started", scan_id=scan_id)
        while True:
            try:
                for message in self._events(scan_id):
                    if message["type"] == "end":
                        tell("end", status=message["status"], state=self.state, ids=[one["id"] for one in self.found])
                        return ""
                    self._take(message)
            except GONE:
                pass
            except LookupError as absent:
                return str(absent.args[0])
            time.sleep(PAUSE_SECONDS)

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "snapshot":
            self.state, self.found = message["state"], []
        elif message["type"] == "update":
            self.state = merged(self.state, message["patch"])
        else:
            return
        news = message.get("opportunities", [])
        self.found += news
        self.cursor = message["cursor"]
        tell("update", state=self.state, opportunities=news, cursor=self.cursor)

    def _events(self, scan_id: str) -> Iterator[dict[str, Any]]:
        connection = http.client.HTTPConnection(self._host, timeout=30)
        shown = {"last-event-id": self.cursor} if self.cursor else {}
        connection.request("GET", f"/opportunities/events/{scan_id}", headers=shown)
        answer = connection.getresponse()
        if answer.status in ABSENT:
            raise LookupError(ABSENT[answer.status])
        if answer.status == 204:
            yield {"type": "end", "status": self.state["status"]}
            return
        for line in answer:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


if __name__ == "__main__":
    begin = json.loads(sys.stdin.readline())
    reader = Reader(begin["url"])
    why = reader.follow(begin.get("watch") or reader.discover(begin["request"]))
    if why:
        tell("error", code=why)

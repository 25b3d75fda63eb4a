"""What things are called in NATS. Every name begins with the namespace, so that several clusters share one NATS.

SCANS   scan.<slot>.<id>.reg    the registration: registry, lookup and placeholder in one message
        scan.<slot>.<id>.go     the permission to start
        scan.<slot>.<id>.ev     entries, those of one append in one message, a line each
        scan.<slot>.<id>.end    it is settled, and until when it answers
        scan.<slot>.<id>.gone   it was purged
        note.<name>             what is remembered under a name; note.store.… is the store's own
        barrier.<node>          changes nothing: whoever reads it has read all before it
"""

import re
from hashlib import blake2b
from urllib.parse import quote, unquote

WORDS = frozenset({"scan", "note", "barrier", "job", "places", "delivery"})
"""What subjects begin with where there is no namespace; so no namespace is called like that."""
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,64}")
HASH_BYTES = 16


def token(name: str) -> str:
    """The name as one part of a subject: as it is where NATS takes it, else its hash, behind a sign no safe one has."""
    return name if _SAFE.fullmatch(name) else f"~{_hashed(name)}"


def _hashed(name: str) -> str:
    return blake2b(name.encode(), digest_size=HASH_BYTES).hexdigest()


class Names:
    """The names of one cluster of ours."""

    def __init__(self, namespace: str = "") -> None:
        self._stream = f"{namespace}_" if namespace else ""
        self._subject = f"{namespace}." if namespace else ""

    def stream(self, name: str) -> str:
        """A stream, a bucket or a consumer."""
        return f"{self._stream}{name}"

    def subject(self, name: str) -> str:
        """A subject, or a filter of subjects."""
        return f"{self._subject}{name}"

    def parts(self, subject: str) -> list[str]:
        """The parts of a subject behind the namespace."""
        return subject[len(self._subject) :].split(".")

    def slot(self, slot: str) -> str:
        """A slot, as one part of a subject: always its hash, as it may be anything."""
        return _hashed(slot)

    def scan(self, slot: str, scan: str, kind: str) -> str:
        """What is kept of a scan; slot and scan are parts of subjects already, and `>` is all of it."""
        return f"{self._subject}scan.{slot}.{scan}.{kind}"

    def note(self, name: str) -> str:
        """What is remembered under this name."""
        return f"{self._subject}note.{quote(name, safe='').replace('.', '%2E')}"

    def noted(self, part: str) -> str:
        """The name of a note, from its part of the subject."""
        return unquote(part)

    def own(self, name: str) -> str:
        """What the store remembers of itself."""
        return f"{self._subject}note.store.{name}"

    def mark(self, node: str, kind: str) -> str:
        """A mark behind all messages of a kind."""
        return f"{self._subject}note.mark.{node}" if kind == "note" else self.scan("mark", node, kind)

    def kind(self, kind: str) -> str:
        """The filter of all messages of a kind; one that lets a mark of it through, too."""
        return f"{self._subject}note.>" if kind == "note" else self.scan("*", "*", kind)

    def barrier(self, node: str) -> str:
        """The barriers of one node."""
        return f"{self._subject}barrier.{node}"

"""Promises of the product, each broken on purpose while it runs: whoever judges chaos must find that out.

They are broken where they are kept, in the server's own code, for one transport or one kind of caller.
"""

import json
from collections.abc import Callable
from typing import Any

Put = Callable[[object, str, Any], None]
"""What is put into the place of an attribute."""


class Mutants:
    """Of one process."""

    def __init__(self) -> None:
        self._before: list[tuple[object, str, Any]] = []

    def breaks(self, name: str) -> None:
        """From now on this promise is broken, and no other."""
        self.mend()
        MUTANTS[name](self._put)

    def mend(self) -> None:
        """All are kept."""
        while self._before:
            owner, name, value = self._before.pop()
            setattr(owner, name, value)

    def _put(self, owner: object, name: str, value: Any) -> None:
        self._before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)


def _doubles_in_polls(put: Put) -> None:
    from scanstream.push import answers

    made = answers._body_since

    def doubled(*given: Any) -> dict[str, Any]:
        body = made(*given)
        return {**body, "opportunities": [*body["opportunities"], *body["opportunities"][-1:]]}

    put(answers, "_body_since", doubled)


def _loses_in_streams(put: Put) -> None:
    from scanstream.push import events, stream
    from scanstream.push.sse import event as made

    class Cut:
        """A message without the last of its opportunities."""

        def __init__(self, message: Any) -> None:
            said = json.loads(bytes(message.data))
            said["opportunities"] = said.get("opportunities", [])[:-1]
            self.type, self.data = message.type, json.dumps(said).encode()

    def cut(message: Any, cursor: str | None = None) -> bytes:
        told: Any = Cut(message) if message.type in ("snapshot", "update") else message
        return made(told, cursor)

    put(events, "event", cut)
    put(stream, "event", cut)


def _loses_in_results(put: Put) -> None:
    from scanstream.push.found import Found

    made = Found.__init__

    def cut(found: Any, *given: Any) -> None:
        made(found, *given)
        found._wanted = found._wanted[:-1]

    put(Found, "__init__", cut)


def _gives_away(put: Put) -> None:
    from scanstream.scans.archive import Archive

    put(Archive, "_is_given", lambda archive, owner, scan_id: True)


def _refuses_tokens(put: Put) -> None:
    from scanstream.scans.archive import Archive
    from scanstream.security.caller import Ticket

    made = Archive._is_given

    def refuses(archive: Any, owner: Any, scan_id: str) -> bool:
        return not isinstance(owner, Ticket) and made(archive, owner, scan_id)

    put(Archive, "_is_given", refuses)


def _tells_nobody(put: Put) -> None:
    from scanstream.notify.courier import Courier
    from scanstream.notify.sending import Answer

    async def says_so(*_: Any) -> Answer:
        return Answer("delivered", "")

    put(Courier, "_answer", says_so)


def _signs_with_another_secret(put: Put) -> None:
    from scanstream.notify import courier
    from scanstream.notify.signing import signed as made

    put(courier, "signed", lambda _, *more: made(f"whsec_{'A' * 43}=", *more))


MUTANTS: dict[str, Callable[[Put], None]] = {
    "doubles-in-polls": _doubles_in_polls,
    "loses-in-streams": _loses_in_streams,
    "loses-in-results": _loses_in_results,
    "gives-away": _gives_away,
    "refuses-tokens": _refuses_tokens,
    "tells-nobody": _tells_nobody,
    "signs-with-another-secret": _signs_with_another_secret,
}

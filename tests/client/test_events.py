"""Server-sent events, read as messages."""

from scanstream.client.stream import Events

UPDATE = b'event: update\ndata: {"type": "update",\ndata: "scan_id": "scan_1"}\n\n'
MESSAGE = {"type": "update", "scan_id": "scan_1"}


def test_an_event_is_read_in_whatever_pieces_it_comes() -> None:
    events = Events()
    pieces = [bytes([byte]) for byte in UPDATE + UPDATE.replace(b"\n", b"\r\n")]
    assert [message for piece in pieces for message in events.messages(piece)] == [MESSAGE, MESSAGE]


def test_what_nobody_knows_is_ignored_whatever_it_holds() -> None:
    strange = b"event: weather\ndata: sunny\n\nid: 1\nx: 2\n\n: nothing\n\ndata: an event without a name\n\n"
    assert list(Events().messages(strange + UPDATE + strange)) == [MESSAGE]

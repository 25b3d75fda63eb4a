"""Events are made once for all at one position, and kept within bounds."""

from scanstream.log.cursor import START, Position
from scanstream.log.scanlog import ScanLog
from scanstream.push.fanout import Encoded
from scanstream.push.stream import Events
from support.histories import registered


def test_an_event_is_made_once_and_the_oldest_are_forgotten() -> None:
    log, events = ScanLog(registered("tsmom"), "k3f9"), Events(most_bytes=1000)
    first = Encoded("snapshot", "x" * 100, Position(1, 0))
    made = events.chunk(log, START, first)
    data = b"event: snapshot\nid: k3f9-1.0\ndata: " + b"x" * 100 + b"\n\n"
    assert made == b"%x\r\n%b\r\n" % (len(data), data)
    assert events.chunk(log, START, first) is made
    for seq in range(2, 50):
        events.chunk(log, Position(seq - 1, 0), Encoded("update", "y" * 100, Position(seq, 0)))
        assert events.bytes <= 1000
    assert events.chunk(log, START, first) is not made
    huge = events.chunk(log, START, Encoded("snapshot", "z" * 5000, Position(2, 0)))
    assert (len(huge) > 5000, events.bytes) == (True, 0)

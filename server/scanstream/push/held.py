"""Long polls that wait: of each a few words where its scan's readers are, and no task.

They are answered by whoever tells them of news, so five thousand of them cost what writing their answers costs.
"""

from scanstream.log.cursor import Position
from scanstream.log.scanlog import ScanLog
from scanstream.push.answers import StatusAnswers, refusal
from scanstream.push.credentials import unauthorized
from scanstream.push.desk import Desk
from scanstream.push.line import Line
from scanstream.push.problem import problem
from scanstream.push.question import Question
from scanstream.push.resumes import Transport
from scanstream.push.vigil import is_over
from scanstream.push.waiter import Patient, Room

_VARIES = b"vary: Prefer, Origin\r\n"


class Polls:
    """What is said to polls, and when."""

    def __init__(self, desk: Desk, room: Room, answers: StatusAnswers) -> None:
        self.desk = desk
        self.room = room
        self._answers = answers

    def take(self, log: ScanLog, asked: Question, line: Line) -> "HeldPoll | bytes | None":
        """The answer, or who waits for it; None where something else has to be waited for first."""
        position = None
        if asked.since is not None:
            if asked.since.epoch == log.epoch and asked.since.position.seq > log.seq:
                return None  # this node may have to catch up
            position = log.place(asked.since)
            transport: Transport = "longpoll" if asked.wait else "poll"
            self.room.fanout.resumes.took(transport, log, asked.since, position)
        rank = self.desk.rank(log.scan_id)
        if asked.wait and not self.over(log, asked, position, rank):
            return HeldPoll(self, log, asked, position, rank, line)
        return self.answer(log, asked, position, line)

    def over(self, log: ScanLog, asked: Question, position: Position | None, rank: int | None) -> bool:
        """Whether there is nothing to wait for: the caller does not know how things are, or they stay so.

        :param rank: the place in the queue that was the scan's when the caller came
        """
        if log.ended or self.room.drain.begun:
            return True
        if position is None:
            return self._answers.of(log).tag != asked.tag
        return log.news(position) or self.desk.rank(log.scan_id) != rank

    def answer(self, log: ScanLog, asked: Question, position: Position | None, line: Line) -> bytes:
        """What is to be said now."""
        if position is not None:
            whole = self._answers.since(log, position)
        else:
            answer = self._answers.of(log)
            if answer.tag == asked.tag:
                return line.start(304) + _applied(asked, answer.unchanged)
            whole = answer.whole or self._answers.whole(log)
        return b"".join((line.start(200), _applied(asked, whole.head), whole.body))


def _applied(asked: Question, head: bytes) -> bytes:
    """The head of an answer; where a preference was followed, it says so (RFC 7240, section 3)."""
    if not asked.preferred:
        return head
    return b"%spreference-applied: wait=%d\r\n%s" % (_VARIES, asked.wait, head.removeprefix(_VARIES))


class HeldPoll(Patient):
    """One that waits: until there is news, its scan has ended, its time is over, or the server is about to restart."""

    __slots__ = ("_asked", "_polls", "_position", "_rank")
    _line: Line

    def __init__(
        self, polls: Polls, log: ScanLog, asked: Question, position: Position | None, rank: int | None, line: Line
    ) -> None:
        self._polls = polls
        self._asked = asked
        self._position = position
        self._rank = rank
        super().__init__(polls.room, log, line, asked.wait, ranked=rank is not None)

    def _over(self) -> bool:
        return self._polls.over(self._log, self._asked, self._position, self._rank)

    def _answer(self) -> None:
        self.leave()
        line = self._line
        if is_over(self._room.vigil, self._asked.caller):
            line.say(line.start(401) + refusal(problem(unauthorized())))
        else:
            line.say(self._polls.answer(self._log, self._asked, self._position, line))
        line.end()

"""One scan's log, folded: what readers read.

`apply` takes the next entry; `read(position)` gives one frame from there to the head. There is no queue: a reader that
comes late gets a frame that covers more, and resuming after a disconnect is the same call as the next frame.
"""

import logging
from array import array
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from scanstream.log.cursor import START, Cursor, Position
from scanstream.log.entry import PART_OPPORTUNITIES, AnyEntry, Registered, ScanFailed, lean
from scanstream.log.fold import Folded, Step, begin, fold
from scanstream.log.ids import Ids
from scanstream.log.packed import NO_PIECE, NOTHING, Packed, Piece
from scanstream.log.patch import diff, merge
from scanstream.log.weight import weight
from scanstream.model import Document, Only, Opportunity, ScanId, document

logger = logging.getLogger("scanstream")

PATCHES_KEPT = 512
"""How far back patches are composed; a reader further behind gets the whole state as its patch."""


BYTES_AN_ID = 192
BYTES_AN_ENTRY = 256
BYTES_BESIDE = 2048
"""What a log weighs in memory beside its opportunities: the id of each, each entry with its patch, and the log."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Document)


class Frame(NamedTuple):
    """What takes a reader from one position to a later one."""

    snapshot: bool
    """Whether the reader is to discard what it has: then `body` is the state and `offset` 0."""
    body: Document
    """The state, or the patch that leads to it."""
    opportunities: Piece
    offset: int
    """Index of the first of them in the scan's list."""
    position: Position
    """Where the reader is afterwards."""
    more: bool
    """Whether further frames follow at the same seq."""
    skipped: int
    """Revisions folded into this frame beyond the first."""
    only: Only | None = None
    """What its reader wants; with `state` the frame says nothing of opportunities."""


class GapError(RuntimeError):
    """An entry came whose predecessor did not: the feed is broken, and going on would be a lie."""


class ScanLog:
    """The fold of one scan's entries so far, with enough of the past to bring any reader up to the head."""

    __slots__ = (
        "__weakref__",
        "_counts",
        "_document",
        "_frozen",
        "_ids",
        "_past",
        "_patches",
        "changed",
        "ended_by",
        "epoch",
        "expired",
        "folded",
        "left",
        "opportunities",
        "scan_id",
        "seq",
    )

    def __init__(self, registered: Registered, epoch: str, *, past: bool = True) -> None:
        """`past`: whether readers are to be brought on from earlier positions; else only the head can be read."""
        self.scan_id: ScanId = registered.scan_id
        self.epoch = epoch
        self.seq = 1
        self.expired = False
        """Set when the scan's time is over: whoever still reads it is to be told."""
        self.left = False
        """Set when a later version of this code has written to it: this node knows no more of the scan, others do."""
        self.changed = 1
        """The last entry that changed anything for readers."""
        self.ended_by = ""
        """The node whose entry was the end, where that is known."""
        self.folded: Folded = begin(lean(registered))
        self.opportunities: Packed = NOTHING
        self._ids: Ids | None = None
        """Those of the opportunities, once there are any."""
        self._counts: array[int] | None = None
        """How many opportunities there were as of each seq, once there are any."""
        self._frozen = False
        self._past = past
        self._document: Document | None = None
        """The state as plain data, while it changes with every shard; of a scan that waits it would be most of it."""
        self._patches: list[bytes] = []
        """The patch to each of the last seqs, the head's last."""

    def apply(self, seq: int, entry: AnyEntry) -> bool:
        """Take the entry at `seq`; whether watchers are to hear of it. Of a repeated one they do not.

        They hear of what is shown, and that the scan is let in, which no reader is told of.

        Nothing does that comes after the end, and it is not counted either: so the last cursor is the same whoever
        reads the log, and whenever.

        :raises GapError: if an entry before it is missing
        """
        if seq <= self.seq or self.ended:
            return False
        if seq != self.seq + 1:
            raise GapError(f"{self.scan_id}: entry {seq} came after entry {self.seq}")
        self.seq = seq
        after, new = self._step(entry)
        changed = after.state is not self.folded.state
        let_in = after.let_in and not self.folded.let_in
        if changed:
            self._advance(after, new)
        else:  # that it is let in, or who is to be told of the end: no reader is told of that
            self.folded = after
            if self._past:
                self._keep_patch({})
        if self._counts is not None:
            self._counts.append(len(self.opportunities))
        if after.ended:
            self.ended_by = entry.by
        return changed or let_in

    def _step(self, entry: AnyEntry) -> Step:
        """The fold's next step. An entry that it cannot take ends the scan there, whoever folds it and whenever."""
        try:
            return fold(self.folded, entry, self._ids or ())
        except Exception:
            logger.exception("%s: entry %d cannot be understood", self.scan_id, self.seq)
            detail = f"Entry {self.seq} of this scan's record cannot be understood; start a new scan"
            return fold(self.folded, ScanFailed(at=self.folded.at, code="damaged", detail=detail), ())

    def _advance(self, after: Folded, new: list[Opportunity]) -> None:
        before = self.document if self._past else None
        self.folded = after
        self.changed = self.seq
        if new:
            self._take(new)
        if before is not None:
            state = document(after.state)
            self._keep_patch(diff(before, state))
            self._document = state if after.tallies is not None else None

    def _take(self, new: list[Opportunity]) -> None:
        if self._ids is None:
            self._ids = Ids()
            self._counts = array("L", bytes(self.seq * array("L").itemsize))
            self.opportunities = Packed()
        self.opportunities.extend(new)
        self._ids.update(opportunity.id for opportunity in new)

    def _keep_patch(self, patch: Document) -> None:
        self._patches.append(_encoder.encode(patch))
        if len(self._patches) > PATCHES_KEPT:
            del self._patches[0]

    @property
    def document(self) -> Document:
        """The state as plain data."""
        return document(self.folded.state) if self._document is None else self._document

    @property
    def ended(self) -> bool:
        """Whether the scan is terminal."""
        return self.folded.ended

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it here: it is terminal, or left to other nodes."""
        return self.ended or self.left

    def freeze(self) -> Iterator[None]:
        """Keep of an ended scan only what its state and results need: no reader is helped by its past any more.

        Step by step, none of which takes long, and readable after each.
        """
        if self.ended and not self._frozen:
            self._frozen = True
            self._document = None
            self._patches = []
            self._counts = None
            if self._ids is not None:
                yield from self._ids.let_go()
                self._ids = None
            yield from self.opportunities.close()

    @property
    def weight(self) -> int:
        """Bytes in memory: counted of a frozen log, else estimated."""
        if self._frozen:
            return BYTES_BESIDE + self.opportunities.size + weight(self.folded)
        return (
            BYTES_BESIDE + self.opportunities.size + BYTES_AN_ID * len(self.opportunities) + BYTES_AN_ENTRY * self.seq
        )

    def _count(self, seq: int) -> int:
        """How many opportunities there were as of an entry; of a frozen scan as of its end."""
        return len(self.opportunities) if self._counts is None else self._counts[seq]

    @property
    def head(self) -> Position:
        """Where a reader is that has everything."""
        return Position(self.seq, len(self.opportunities))

    def cursor(self, position: Position) -> Cursor:
        """The position as clients know it."""
        return Cursor(self.epoch, position)

    def place(self, cursor: Cursor | None) -> Position:
        """The position to go on from: `START` for a cursor that is absent, foreign, or ahead of this log."""
        if cursor is None or cursor.epoch != self.epoch:
            return START
        seq, n = cursor.position
        return cursor.position if seq <= self.seq and n <= self._count(seq) else START

    def news(self, position: Position, only: Only | None = None) -> bool:
        """Whether a reader at `position` lacks anything of what it wants."""
        return position.seq < self.changed or (only is None and position.n < len(self.opportunities))

    def read(self, position: Position, only: Only | None = None) -> Frame:
        """The next frame for a reader at `position`, which must be one that `place` gave or a frame led to.

        For one that wants the state only, `n` stays what it is: a later reader without that wish goes on from there.
        """
        seq, n = position
        if only is not None:
            return self._state_only(seq, n)
        if seq and n < self._count(seq) and not (self._frozen and seq < self.seq):
            return self._chunk(seq, n, {}, skipped=0)
        if not seq:
            return self._chunk(self.seq, 0, self.document, skipped=0, snapshot=True)
        return self._chunk(self.seq, n, self._patch_from(seq), skipped=max(0, self.seq - seq - 1))

    def _state_only(self, seq: int, n: int) -> Frame:
        if not seq:
            return Frame(True, self.document, NO_PIECE, 0, Position(self.seq, 0), False, 0, "state")
        skipped = max(0, self.seq - seq - 1)
        return Frame(False, self._patch_from(seq), NO_PIECE, n, Position(self.seq, n), False, skipped, "state")

    def _chunk(self, seq: int, n: int, body: Document, *, skipped: int, snapshot: bool = False) -> Frame:
        total = self._count(seq)
        stop = self.opportunities.stop(n, min(n + PART_OPPORTUNITIES, total))
        piece = Piece(self.opportunities, n, stop)
        return Frame(snapshot, body, piece, n, Position(seq, stop), stop < total, skipped)

    def _patch_from(self, seq: int) -> Document:
        behind = self.seq - seq
        if behind > len(self._patches):
            return self.document
        patch: Document = {}
        for index in range(len(self._patches) - behind, len(self._patches)):
            patch = merge(patch, _decoder.decode(self._patches[index]))
        return patch

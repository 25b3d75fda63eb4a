"""One strategy's shards, counted: what the fold knows of them beside what it tells."""

from msgspec import Struct

from scanstream.log.notes import Notes
from scanstream.model import Milliseconds, Problem


class Tally(Struct, frozen=True):
    """One strategy's shards, as the plan cut them and as they came out."""

    total: int
    outcomes: int = 0
    """A bit a shard: set once the shard has an outcome."""
    started_at: Milliseconds | None = None
    busy_ms: Milliseconds = 0
    """Measured time of the shards that ran to their end …"""
    measured: int = 0
    """… and how many those are."""
    problem: tuple[int, int, Problem] | None = None
    """(0 failed or 1 timed out, shard, what): the least one, whatever the order in which they came."""
    notes: Notes = Notes()

    @property
    def completed(self) -> int:
        """How many shards have an outcome."""
        return self.outcomes.bit_count()

    def lacks(self, shard: int) -> bool:
        """Whether the plan has this shard and it has no outcome yet."""
        return 0 <= shard < self.total and not self.outcomes >> shard & 1

    def missing(self) -> list[int]:
        """The shards without an outcome."""
        return [shard for shard in range(self.total) if self.lacks(shard)]

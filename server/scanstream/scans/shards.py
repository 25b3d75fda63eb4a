"""A shard, from its name and its scan's log: the same on every node."""

from scanstream.jobs import Shard, ShardName
from scanstream.log.fold import Folded


def shard_of(folded: Folded, name: ShardName, *, strict: bool = False) -> Shard:
    """What a shard of the plan is to do. `strict`: with the very release of its strategy that has cut it."""
    scan, cut = folded.registered, folded.cuts[name.strategy_id]
    return Shard(
        scan_id=name.scan_id,
        strategy_id=name.strategy_id,
        number=name.number,
        start=name.number * cut.chunk,
        stop=min(cut.units, (name.number + 1) * cut.chunk),
        digest=scan.digest,
        request=scan.request,
        budget_seconds=scan.budgets[name.strategy_id],
        release=cut.release if strict else "",
    )

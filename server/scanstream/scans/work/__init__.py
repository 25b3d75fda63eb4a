"""How shards are run: in worker processes, or in the loop."""

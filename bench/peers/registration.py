"""The bare transaction of a registration: what SQLite and the disk ask of whoever wants one scan to be durable.

    python registration.py FILE COUNT PAUSE_SECONDS

The tables and pragmas of the server, its three statements, one transaction after the other in one thread. Prints the
milliseconds of each.
"""

import json
import sys
import time
from pathlib import Path

from scanstream.engines.schema import connect

BODY = json.dumps({"type": "registered", "filters": {}, "pad": "x" * 600}).encode()
"""About as long as the entry is."""


def main(file: Path, count: int, pause: float) -> None:
    """Time each."""
    connection = connect(file)
    taken = []
    for number in range(count):
        time.sleep(pause)
        scan_id, slot = f"scan_{number:042x}", f"{number:032x}"
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO scans (scan_id, slot, principal, registered_at) VALUES (?, ?, ?, ?)",
            (scan_id, slot, "anyone", number),
        )
        connection.execute("INSERT OR REPLACE INTO slots VALUES (?, ?)", (slot, scan_id))
        connection.execute("INSERT INTO entries VALUES (?, 1, ?)", (scan_id, BODY))
        connection.execute("COMMIT")
        taken.append((time.perf_counter() - began) * 1000)
    connection.close()
    print(json.dumps(taken))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))

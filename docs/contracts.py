"""Writes docs/openapi.json and docs/asyncapi.json: the contracts as a server serves them.

    python docs/contracts.py [DIRECTORY]

A test holds what is committed equal to what the code says (tests/docs/test_contracts.py).
"""

import json
import sys
from pathlib import Path

from scanstream.push.contract.documents import asyncapi, openapi

DOCS = Path(__file__).resolve().parent


def main() -> int:
    """Write both."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    for name, document in (("openapi", openapi()), ("asyncapi", asyncapi())):
        path = directory / f"{name}.json"
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        sys.stdout.write(f"{path} is written.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Writes docs/licences.md: what a server brings along, in which version, and under which licence.

    python docs/licences.py            writes it from what is installed here
    python docs/licences.py --check    says whether it is as it would be written

The versions are those of requirements-nats.lock, the largest set that is meant to be run; the licences are what the
packages say of themselves (`License-Expression`, else `License`, else their classifiers; the core metadata of PyPA).
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
LOCK = ROOT / "requirements-nats.lock"
LIGHT = ROOT / "requirements.lock"
LONGEST = 60
"""Characters: some write the whole text of their licence where its name belongs."""
HEAD = """# Licences

scanstream is under the Apache License 2.0. What a server brings along (`requirements-nats.lock`; those with a `*` only
with the engine for several nodes, or for JWTs), and what each of them says of its licence. Written by
`python docs/licences.py`.

| package | version | licence |
| --- | --- | --- |
"""


def licence_of(package: str) -> str:
    """What the package says of its licence.

    :raises SystemExit: if it says nothing, or is not installed here
    """
    try:
        told = metadata(package)
    except PackageNotFoundError:
        raise SystemExit(f"{package} is not installed here: make dev installs it") from None
    named = next((text for name in ("License-Expression", "License") for text in told.get_all(name) or ()), "")
    if named and len(named) <= LONGEST and "\n" not in named:
        return named
    classifiers = [
        line.rpartition(" :: ")[2] for line in told.get_all("Classifier") or () if line.startswith("License")
    ]
    if not classifiers:
        raise SystemExit(f"{package} does not say under which licence it is: look, and decide whether it may stay")
    return ", ".join(classifiers)


def versions(lock: Path) -> dict[str, str]:
    """Package → version, as a lock pins it."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.M))


def page() -> str:
    """The page as it is to be."""
    alone = versions(LIGHT)
    rows = [
        f"| {name}{'' if name in alone else ' *'} | {version} | {licence_of(name)} |"
        for name, version in sorted(versions(LOCK).items())
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    written = page()
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text() == written else f"{PAGE.name} is out of date: run python docs/licences.py")
    PAGE.write_text(written)

"""Writes docs/licences.md: what a server brings along, in which version, and under which licence.

    python docs/licences.py            writes it from what is installed here
    python docs/licences.py --check    says whether it is as it would be written

What stands in requirements.lock every server has. What an extra brings is what its packages say that they need, and
what those need (`Requires-Dist`), here; the versions are those of requirements-dev.lock. The licences are what
the packages say of themselves (`License-Expression`, else `License`, else their classifiers): PyPA's core metadata.
"""

import re
import sys
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
LOCK = ROOT / "requirements-dev.lock"
LIGHT = ROOT / "requirements.lock"
EXTRAS = ("parquet", "live", "jwt", "nats", "otel")
"""Of the server. What `notebook` brings whoever has Jupyter has already."""
LONGEST = 60
"""Characters: some write the whole text of their licence where its name belongs."""
HEAD = """# Licences

scanstream is under the Apache License 2.0. What a server brings along, and what each of them says of its licence: all
of `requirements.lock`, and with an [extra](operations.md) what stands beside its name (here: on Linux). Written by
`python docs/licences.py`.

| package | version | licence | only with |
| --- | --- | --- | --- |
"""


def licence_of(package: str) -> str:
    """What the package says of its licence.

    :raises SystemExit: if it says nothing, or is not installed here
    """
    try:
        told = metadata(package)
    except PackageNotFoundError:
        raise SystemExit(f"{package} is not installed here: make test installs it") from None
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


def needed(package: str, extras: frozenset[str]) -> set[str]:
    """What a package with these extras needs on this machine, and what that needs in turn.

    :raises SystemExit: if one of them is not installed here
    """
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [(package, extras)]
    while waiting:
        one = name, wanted = waiting.pop()
        if one in found:
            continue
        found.add(one)
        try:
            lines = requires(name) or ()
        except PackageNotFoundError:
            raise SystemExit(f"{name} is not installed here: make test installs it") from None
        for requirement in map(Requirement, lines):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted or {""}):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {name for name, _ in found} - {package}


def page() -> str:
    """The page as it is to be."""
    alone, locked = versions(LIGHT), versions(LOCK)
    only: defaultdict[str, list[str]] = defaultdict(list)
    for extra in EXTRAS:
        for name in needed("scanstream", frozenset({extra})) - alone.keys():
            only[name].append(extra)
    rows = [
        f"| {name} | {locked[name]} | {licence_of(name)} | {', '.join(only[name])} |"
        for name in sorted(alone.keys() | only.keys())
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    written = page()
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text() == written else f"{PAGE.name} is out of date: run python docs/licences.py")
    PAGE.write_text(written)

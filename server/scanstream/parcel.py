"""A saved panel as one file, to travel from node to node."""

import shutil
import tarfile
import tempfile
from pathlib import Path

from scanstream.errors import MarketError
from scanstream.panel import load


def pack(folder: Path, file: Path) -> None:
    """Put a saved panel into a file.

    :raises OSError: if it cannot be read, or written
    """
    with tarfile.open(file, "w") as parcel:
        for one in sorted(folder.iterdir()):
            parcel.add(one, one.name)


def unpack(file: Path, directory: Path, digest: str) -> bool:
    """Save the panel in the file below `directory`; False, and nothing is there, if it is not the one of this digest.

    :raises OSError: if the disk does not take it
    :raises Shortage: if the machine lacks what it takes
    """
    scratch = Path(tempfile.mkdtemp(dir=directory, prefix="writing-"))
    try:
        try:
            with tarfile.open(file, "r:") as parcel:
                for member in parcel:
                    _unpack(parcel, member, scratch)
            if load(scratch).digest != digest:
                return False
        except (tarfile.TarError, MarketError):
            return False
        target = directory / digest
        shutil.rmtree(target, ignore_errors=True)
        scratch.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True


def _unpack(parcel: tarfile.TarFile, member: tarfile.TarInfo, scratch: Path) -> None:
    """One file of it; whatever else may be in there is no part of a panel."""
    content = parcel.extractfile(member) if member.isfile() and "/" not in member.name else None
    if content is not None and not member.name.startswith("."):
        with content, (scratch / member.name).open("wb") as written:
            shutil.copyfileobj(content, written)

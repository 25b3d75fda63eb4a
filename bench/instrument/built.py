"""Programs in C, compiled when they are first wanted, and again when their source has changed."""

import hashlib
import shutil
import subprocess
from pathlib import Path

BENCH = Path(__file__).parent.parent
MADE = BENCH / ".built"
FLAGS = ("-O2", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")


class NoCompiler(Exception):
    """There is no gcc on this machine."""


def load() -> Path:
    """The load generator."""
    return _compiled("load", sorted((BENCH / "load").glob("*.[ch]")))


def floor() -> Path:
    """The lower bound."""
    return _compiled("floor", [BENCH / "peers" / "floor.c"])


def _compiled(name: str, sources: list[Path]) -> Path:
    if shutil.which("gcc") is None:
        raise NoCompiler("The load generator is written in C: install gcc")
    digest = hashlib.sha256(b"\n".join([" ".join(FLAGS).encode(), *(source.read_bytes() for source in sources)]))
    program = MADE / f"{name}-{digest.hexdigest()[:12]}"
    if not program.exists():
        MADE.mkdir(exist_ok=True)
        units = [str(source) for source in sources if source.suffix == ".c"]
        partial = program.with_suffix(".part")
        subprocess.run(["gcc", *FLAGS, "-o", str(partial), *units], check=True)
        partial.rename(program)
    return program

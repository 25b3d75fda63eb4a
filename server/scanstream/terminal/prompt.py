"""A question to somebody at a terminal."""

import os
import select
import signal
import sys

import click


def confirmed(question: str) -> bool:
    """Whether the answer is yes; Enter, the end of input and another Ctrl-C are no.

    `input` misses a Ctrl-C that comes just before it begins to read, as that of somebody impatient does. A wakeup
    descriptor keeps it.
    """
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    before = signal.set_wakeup_fd(wake)
    try:
        click.echo(f"{question} [y/N]: ", nl=False)
        select.select([sys.stdin, awake], [], [])
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        click.echo()
        return False
    finally:
        signal.set_wakeup_fd(before)
        os.close(awake)
        os.close(wake)

"""One flag, which is also a variable in the environment: how its value is read, and told where it is wrong."""

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

Command = TypeVar("Command", bound=Callable[..., Any])

_LINK = re.compile(r"(tcp|udp|sctp)://")


class Unusable(click.ClickException):
    """A setting that cannot be read: one line, as a log takes it, and exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """See `click.ClickException.show`."""
        click.echo(f"scanstream: {self.message}", file=file, err=file is None)


class Setting(click.Option):
    """A flag that tells from which variable of the environment its value came, if from one."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """See `click.Option.resolve_envvar_value`; passes over what a container platform has put there.

        For a service of our name Docker and Kubernetes set `SCANSTREAM_PORT=tcp://10.0.0.1:8000`.
        """
        for variable in self.envvar or ():
            value = os.environ.get(variable, "")
            if _LINK.match(value):
                say_once(ctx, f"{variable}={value} is passed over: a container platform sets it for a service")
            elif value:
                _given(ctx)[self.opts[0]] = (variable, value)
                return value
        return None

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """See `click.Parameter.process_value`; what cannot be a value is told as every other that cannot work."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            error.ctx, error.param = (
                error.ctx or ctx,
                error.param or self,
            )  # a callback's error does not say whose it is
            raise Unusable(error.format_message()) from None

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """See `click.Option.get_error_hint`."""
        variable, _ = _given(ctx).get(self.opts[0], ("", "")) if ctx else ("", "")
        return f"{variable} in the environment" if variable else f"'{self.opts[0]}'"


def _given(ctx: click.Context) -> dict[str, tuple[str, str]]:
    """Flag → the variable that gave its value, and the value."""
    given: dict[str, tuple[str, str]] = ctx.meta.setdefault("scanstream.environment", {})
    return given


def say_once(ctx: click.Context, words: str) -> None:
    """Say this on standard error, once in a command."""
    said: set[str] = ctx.meta.setdefault("scanstream.said", set())
    if words not in said and not ctx.resilient_parsing:
        said.add(words)
        click.echo(f"scanstream: {words}", err=True)


def in_words_given(message: str) -> str:
    """A message about settings that names the variable where the value came from one and it is not named yet."""
    ctx = click.get_current_context(silent=True)
    for flag, (variable, value) in (_given(ctx) if ctx else {}).items():
        if f"{flag} {value}" in message and not re.search(rf"\b{variable}\b", message):
            message = message.replace(f"{flag} {value}", f"{variable}={value}").replace(f" ({_variable(flag)})", "")
    return message


def on_command_line(name: str) -> bool:
    """Whether this setting of the command that runs was given as a flag."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _variable(flag: str) -> str:
    return "SCANSTREAM_" + flag.removeprefix("--").replace("-", "_").upper()


def setting(flag: str, *environment: str, **options: Any) -> Callable[[Command], Command]:
    """A flag that is also `SCANSTREAM_…` in the environment."""
    variables = [_variable(flag), *environment]
    return click.option(flag, cls=Setting, envvar=variables, show_envvar=True, **{"show_default": True, **options})

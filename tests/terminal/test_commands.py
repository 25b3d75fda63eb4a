"""What goes wrong, as an exit code and in words."""

import pytest

from scanstream.client.failures import Lost, Unreachable, failure
from scanstream.terminal.commands import answering


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid_request", 2),
        ("too_large", 2),
        ("not_found", 1),
        ("expired", 1),
        ("too_many_scans", 1),
        ("a_code_of_tomorrow", 1),
        ("store_unavailable", 3),
        ("internal", 3),
    ],
)
def test_a_refusal(code: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    @answering
    def refused() -> int:
        raise failure({"code": code, "detail": "so it is"})

    assert refused() == status
    assert capsys.readouterr() == ("", "scanstream: so it is\n")


def test_a_refusal_for_the_moment_says_when_to_ask_again(capsys: pytest.CaptureFixture[str]) -> None:
    @answering
    def refused() -> int:
        raise failure({"code": "too_many_scans", "detail": "so it is"}, 429, 4.2)

    assert refused() == 1
    told = "scanstream: so it is\nscanstream: The server says when to ask again: in 5 s\n"
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize("error", [Lost("cut off"), Unreachable("nobody there: cut off")])
def test_no_answer(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    @answering
    def lost() -> int:
        raise error

    assert lost() == 3
    assert "cut off" in capsys.readouterr().err


def test_every_field_is_named_with_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    errors = [
        {"field": "symbols", "reason": "has no 'X'"},
        {"field": "parameters.a.b", "reason": "too low"},
        {"field": "capital_usd", "reason": "too low"},
    ]

    @answering
    def refused() -> int:
        raise failure({"code": "invalid_request", "detail": "all of it", "errors": errors})

    assert refused() == 2
    assert capsys.readouterr().err.splitlines()[1:] == [
        "  symbols (--symbol): has no 'X'",
        "  parameters.a.b (--parameter): too low",
        "  capital_usd: too low",
    ]

"""Every way to fail stands in the tree, in the table and in the page at the top, and the three agree."""

import re

import pytest

from scanstream import errors
from scanstream.errors import (
    TABLE,
    FieldError,
    InvalidRequest,
    NotFound,
    RateLimited,
    RequestError,
    ScanstreamError,
    ServerError,
    SetupError,
)
from scanstream.legible import legible

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ScanstreamError)]
BRANCHES: list[type[ScanstreamError]] = [RequestError, ServerError, SetupError]
FAULTS = {RequestError: "client", ServerError: "server", SetupError: "operator"}
LEAVES = [kind for kind in CLASSES if kind not in (ScanstreamError, *BRANCHES)]
WITH_A_CODE = [kind for kind in LEAVES if "code" in vars(kind)]
"""The others are narrower kinds of one of these, and the same to a caller."""


def branch_of(kind: type[ScanstreamError]) -> type[ScanstreamError]:
    """Whose fault it is."""
    [branch] = [branch for branch in BRANCHES if issubclass(kind, branch)]
    return branch


@pytest.mark.parametrize(
    "credential",
    [
        "ssk_" + "Ab1-" * 10 + "x_1",
        "sst_" + "Ab1_" * 15,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ",
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", "there is no symbol '{}'", "GET /static/{}", "x" * 690 + " {}", "scan_{}", "x{}"]
)
def test_what_is_told_has_no_credential_in_it(credential: str, around: str) -> None:
    """Somebody may have put one where a name belongs."""
    text = around.format(credential)
    error = NotFound(text, scan_id=text, errors=[FieldError(text, text)])
    for told in (error.detail, str(error), error.scan_id, *error.errors[0], InvalidRequest.of(text, text).detail):
        assert credential[4:16] not in told
        assert legible(around, 100).partition("{")[0][:5] in told


@pytest.mark.parametrize("text", ["asst_momentum", "sst_momentum", "eyJewel", "task_of_the_longest_name_there_is"])
def test_and_other_words_stay_as_they_are(text: str) -> None:
    assert NotFound(text).detail == text


def test_every_code_has_a_row_and_every_row_a_class() -> None:
    codes = {kind.code for kind in CLASSES}

    assert codes - TABLE.keys() == set(), "codes without a row"
    assert TABLE.keys() - codes == set(), "rows without a class"


def test_no_two_ways_to_fail_share_a_code() -> None:
    codes = [kind.code for kind in WITH_A_CODE]

    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_the_table_agrees_with_the_tree(kind: type[ScanstreamError]) -> None:
    row = kind("what, and what to do").row

    assert row.fault == FAULTS[branch_of(kind)]
    assert (400 <= row.status < 500) == (row.fault == "client")
    assert row.close is None or row.close in range(1008, 1015) or row.close in range(4400, 4500)
    assert row.title


def test_the_page_at_the_top_draws_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn: dict[str, str] = {}
    branch = above = "ScanstreamError"
    for line in re.findall(r"^ {4}(.*[├└│].*)$", errors.__doc__, re.MULTILINE):
        names = re.findall(r"\b[A-Z]\w+", line)
        if line[0] in "├└":
            [branch] = names
            drawn[branch] = "ScanstreamError"
        else:
            drawn |= dict.fromkeys(names, above if line.find("└") > len("│   ") else branch)
        above = names[0]

    assert drawn == {kind.__name__: kind.__mro__[1].__name__ for kind in CLASSES if kind is not ScanstreamError}


def test_an_error_tells_what_it_knows() -> None:
    error = RateLimited("Slow down", retry_after=2.5, scan_id="scan_1")

    assert (str(error), error.detail, error.errors, error.retry_after) == ("Slow down", "Slow down", (), 2.5)
    assert (error.scan_id, error.row) == ("scan_1", TABLE["rate_limited"])


def test_an_invalid_request_names_the_field() -> None:
    error = InvalidRequest.of("symbols", "DOGE/USDT is not in this market")

    assert error.detail == "symbols: DOGE/USDT is not in this market"
    assert error.errors == (FieldError("symbols", "DOGE/USDT is not in this market"),)

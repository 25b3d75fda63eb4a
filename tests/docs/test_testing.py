"""The page of tests names such as there are: a table of promises that leads nowhere promises nothing."""

import ast
import re
from collections import defaultdict

import pytest

from conftest import ROOT

NAMED = re.compile(r"`(?:([\w/]+\.py)|…)::(test_\w+)`")
PAGE = (ROOT / "docs" / "testing.md").read_text()
PLACES = defaultdict(list)
for file in sorted((ROOT / "tests").rglob("test_*.py")):
    PLACES[file.name].append(file)


def named(line: str) -> list[tuple[str, str]]:
    """File and test, of each that a row names; `…` is the file before."""
    found: list[tuple[str, str]] = []
    for file, test in NAMED.findall(line):
        found.append((file or found[-1][0], test))
    return found


@pytest.mark.parametrize("line", [line for line in PAGE.splitlines() if "::test_" in line], ids=lambda line: line[2:60])
def test_what_a_row_names_is_there(line: str) -> None:
    assert line.count("::test_") == len(named(line)), line
    for file, test in named(line):
        places = [place for place in PLACES[file.rpartition("/")[2]] if str(place).endswith(f"/{file}")]
        assert places, f"there is no {file}"
        tests = {
            node.name
            for place in places
            for node in ast.parse(place.read_text()).body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert test in tests, f"{file} has no {test}"

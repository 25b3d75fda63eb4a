"""`scanstream market check`: what would be served, and what is wrong, file by file."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from scanstream.cli import main

HEADER = "date,open,high,low,close,volume\n"


def write(directory: Path, name: str, days: int, *, first: int = 1) -> None:
    """A file of made-up days in November 2023."""
    rows = [f"2023-11-{day:02},10,12,9,11,{day}\n" for day in range(first, first + days)]
    (directory / name).write_text(HEADER + "".join(rows))


def checked(*arguments: str) -> Result:
    """The command, run."""
    return CliRunner().invoke(main, ["market", "check", *arguments])


def report(path: Path) -> dict[str, Any]:
    """What it says for programs."""
    found: dict[str, Any] = json.loads(checked(str(path), "--json").stdout)
    return found


def test_a_market_that_would_be_served_exits_with_zero(tmp_path: Path) -> None:
    for name in ("AAA_USD.csv", "BBB_USD.csv", "CCC_USD.csv"):
        write(tmp_path, name, 20)
    write(tmp_path, "DDD_USD.csv", 22)
    write(tmp_path, "EEE_USD.csv", 17)
    (tmp_path / "README.txt").write_text("no candles")
    shown = checked(str(tmp_path))
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["file", "symbol", "bars", "first", "last", "length", "gaps"]
    assert lines[2].split() == ["AAA_USD.csv", "AAA/USD", "20", "2023-11-01", "2023-11-20", "1d", "0"]
    assert "passed over: README.txt" in lines
    assert any("2023-11-20" in line and "left out: DDD/USD (2 bars)" in line for line in lines)
    assert any("EEE/USD (3 bars)" in line for line in lines)
    assert f"files:{tmp_path.name} would be served: 5 symbols, 20 bars of 1d" in lines
    found = report(tmp_path)
    assert found["would_be_served"] is True
    assert found["served"]["ahead"] == {"DDD/USD": 2}
    assert found["served"]["behind"] == {"EEE/USD": 3}
    assert found["served"]["scanned"] == "2023-11-20T00:00:00.000Z"


def test_all_that_is_wrong_is_said_at_once_with_exit_code_one(tmp_path: Path) -> None:
    write(tmp_path, "AAA.csv", 20)
    (tmp_path / "BBB.csv").write_text(HEADER + "2023-11-01,10,12,9,11,1\nyesterday,10,12,9,11,1\n")
    (tmp_path / "CCC.csv").write_text("one,two\n1,2\n")
    (tmp_path / "DDD.csv.gz").write_bytes(b"\x1f\x8b and no more")
    (tmp_path / "EEE.parquet").write_bytes(b"no table")
    shown = checked(str(tmp_path))
    assert shown.exit_code == 1
    wrong = [line for line in shown.stdout.splitlines() if line.startswith("wrong: ")]
    assert len(wrong) == 4
    for line, words in zip(
        wrong, ("BBB.csv, line 3: 'yes", "CCC.csv, line 1: ", "DDD.csv.gz", "EEE.parquet"), strict=True
    ):
        assert words in line
    assert shown.stdout.splitlines()[-1] == f"files:{tmp_path.name} would not be served"
    found = report(tmp_path)
    assert (found["would_be_served"], len(found["problems"])) == (False, 4)
    assert [bool(part.get("problem")) for part in found["files"]] == [False, True, True, True, True]


def test_a_name_that_is_no_text_is_told_as_json_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, "AAA.csv", 20)
    (tmp_path / b"b\xff.csv".decode(errors="surrogateescape")).write_text("nothing")
    found = report(tmp_path)
    assert [part["file"] for part in found["files"]] == ["AAA.csv", "b?.csv"]
    assert "line 1: no header was found" in found["files"][1]["problem"]


def test_a_bar_that_opens_where_no_other_does_is_noted(tmp_path: Path) -> None:
    rows = [f"2023-11-{1 + hour // 24:02} {hour % 24:02}:00:00,10,12,9,11,1\n" for hour in range(40)]
    (tmp_path / "AAA.csv").write_text(HEADER + "".join(rows) + "2023-11-02 16:37:12,10,12,9,11,1\n")
    assert report(tmp_path)["notes"] == [
        "1 bars of AAA open off the others' steps of 1h, the last at 2023-11-02T16:37:12.000Z"
    ]


def test_what_is_wrong_between_files_is_said_too(tmp_path: Path) -> None:
    write(tmp_path, "AAA.csv", 20)
    (tmp_path / "BBB.csv").write_text(HEADER + "".join(f"2023-11-01 {hour:02}:00,1,2,1,2,3\n" for hour in range(20)))
    found = report(tmp_path)
    assert found["would_be_served"] is False
    [problem] = found["problems"]
    assert "bars of 1h (BBB in" in problem
    assert "of 1d (AAA in" in problem


def test_what_was_left_out_of_a_file_is_noted(tmp_path: Path) -> None:
    write(tmp_path, "AAA.csv", 5)
    with (tmp_path / "AAA.csv").open("a") as text:
        text.write("2023-11-06,,,,,\n2023-11-05,10,12,9,11,5\n")
    assert report(tmp_path)["files"][0]["notes"] == [
        "1 bars have no price, and are absent",
        "1 of its bars came twice, equal",
    ]


def test_a_path_where_nothing_is_exits_with_one_and_no_path_with_two(tmp_path: Path) -> None:
    absent, empty = checked(str(tmp_path / "absent")), checked(str(tmp_path))
    assert (absent.exit_code, empty.exit_code) == (1, 1)
    assert "there is no such file or directory" in absent.stdout
    assert "there is no file of candles" in empty.stdout
    assert "it holds" not in empty.stdout
    assert checked().exit_code == 2
    assert checked(f"files:{tmp_path}").exit_code == 1

"""How files are read: what it costs, how far it is, how it is ended, and that a bad file is one line."""

import logging
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import polars
import pytest
from anyio import to_thread

from conftest import ROOT
from scanstream.errors import MarketError
from scanstream.market.checking import check
from scanstream.market.files import FilesMarket
from scanstream.market.reading import csvfiles, progress
from scanstream.panel import FIELDS

MINUTE = 60_000
FIRST = 1_700_006_400_000
CASES = ROOT.parent / "shared" / "cases" / "markets"


def write(directory: Path, name: str, bars: int, *, last: int = 0, step: int = MINUTE) -> Path:
    """A file of made-up bars; the last ends so many bars later than it would."""
    directory.mkdir(exist_ok=True)
    times = FIRST + step * (np.arange(bars) + last)
    prices = 100 + np.sin(np.arange(bars) / 50) + np.arange(bars) % 7 / 100
    rows = [
        f"{at},{p:.4f},{p + 1:.4f},{p - 1:.4f},{p + 0.5:.4f},{p * 3:.5f}" for at, p in zip(times, prices, strict=True)
    ]
    file = directory / name
    file.write_text("timestamp,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
    return file


MEASURE = """
import sys, numpy
from pathlib import Path
from scanstream.market.files import FilesMarket
def peak():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
FilesMarket(Path(sys.argv[1])).load()  # what is loaded once is no memory of bars
before = peak()
panel = FilesMarket(Path(sys.argv[2])).load()
arrays = panel.times.nbytes + 5 * panel.close.nbytes
print((peak() - before) / arrays)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told by /proc")
@pytest.mark.parametrize("kind", ["files", "long"])
def test_reading_takes_at_most_four_times_the_memory_of_the_arrays(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "small", "AAA.csv", 100)
    for number in range(4):  # as many that the block which is being read, of some megabytes, is little beside them
        write(tmp_path / "large", f"S{number}.csv", 150_000)
    large = tmp_path / "large"
    if kind == "long":
        frames = [polars.read_csv(file).with_columns(symbol=polars.lit(file.stem)) for file in sorted(large.iterdir())]
        large = tmp_path / "all.csv"
        polars.concat(frames).write_csv(large)
    ratio = float(
        subprocess.run(
            [sys.executable, "-c", MEASURE, tmp_path / "small", large], capture_output=True, check=True, timeout=60
        ).stdout
    )
    assert 0.9 < ratio < 4


MEASURE_BOTH = """
import os, sys, threading
from pathlib import Path
from scanstream.market.files import FilesMarket
def resident(process):
    try:
        [line] = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS")]
    except (OSError, ValueError):
        return 0
    return int(line.split()[1]) * 1024
def measured(path):
    peak, over = 0, threading.Event()
    def watch():
        nonlocal peak
        while not over.wait(0.003):
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            peak = max(peak, sum(map(resident, [os.getpid(), *children])))
    watching = threading.Thread(target=watch)
    watching.start()
    panel = FilesMarket(Path(path)).load()
    over.set()
    watching.join()
    return peak, panel.times.nbytes + 5 * panel.close.nbytes
(small, least), (large, most) = map(measured, sys.argv[1:])
print((large - small) / (most - least))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told by /proc")
def test_columns_take_at_most_four_times_the_memory_of_the_arrays_with_the_process_that_reads_them(
    tmp_path: Path,
) -> None:
    """By how much more a file of four times the bars takes: what polars itself takes is no memory of bars."""
    files = []
    for bars in (50_000, 200_000):
        times = FIRST + MINUTE * np.arange(bars)
        prices = np.random.default_rng(bars).random(bars) + 100
        columns = {"open": prices, "high": prices + 1, "low": prices - 1, "close": prices + 0.5, "volume": prices * 3}
        frames = [polars.DataFrame({"symbol": [f"S{n}/USD"] * bars, "timestamp": times, **columns}) for n in range(6)]
        files.append(tmp_path / f"{bars}.parquet")
        polars.concat(frames).write_parquet(files[-1])
    ratio = float(
        subprocess.run([sys.executable, "-c", MEASURE_BOTH, *files], capture_output=True, check=True, timeout=60).stdout
    )
    assert 0.9 < ratio < 4


def test_what_is_read_block_by_block_is_the_same_at_their_borders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With quoted cells that go on over lines, too, and a bad line in a later block."""
    plain = write(tmp_path / "plain", "AAA.csv", 200)
    rows = plain.read_text().splitlines()
    quoted = [
        rows[0] + ",note",
        *(f'{row},"one\ntwo"' if at % 9 == 0 else f"{row},x" for at, row in enumerate(rows[1:])),
    ]
    (tmp_path / "quoted").mkdir()
    (tmp_path / "quoted" / "AAA.csv").write_text("\n".join(quoted))
    whole = FilesMarket(tmp_path / "plain").load()
    monkeypatch.setattr(csvfiles, "BLOCK_LINES", 7)
    for kind in ("plain", "quoted"):
        panel = FilesMarket(tmp_path / kind).load()
        for name in ("times", *FIELDS):
            np.testing.assert_array_equal(getattr(panel, name), getattr(whole, name))
    rows[150] = rows[150].replace(",", ",x", 1)
    plain.write_text("\n".join(rows))
    with pytest.raises(MarketError, match=r"AAA\.csv, line 151: 'x"):
        FilesMarket(tmp_path / "plain").load()


def test_reading_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    for number in range(3):
        write(tmp_path, f"S{number}.csv", 10)
    with caplog.at_level(logging.INFO, "scanstream.market"):
        FilesMarket(tmp_path).load()
    said = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert said[:3] == [f"{done} of 3 files, {10 * (done + 1)} bars" for done in range(3)]
    assert said[3].startswith("read, 3 of 3 files, 30 bars in ")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_a_reading_that_nobody_waits_for_any_more_ends(tmp_path: Path, kind: str) -> None:
    file = write(tmp_path, "AAA.csv", 50_000)
    if kind == "parquet":
        polars.read_csv(file).write_parquet(tmp_path / "AAA.parquet")
        file.unlink()
    loaded: list[Any] = []

    async def read() -> None:
        loaded.append(await to_thread.run_sync(FilesMarket(tmp_path).load))

    with anyio.move_on_after(0) as scope:
        await read()
    assert scope.cancelled_caught
    assert not loaded


def reads(process: int, name: str) -> bool:
    """Whether a process has a file of this name open."""
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):  # it was closed in between
            if link.readlink().name == name:
                return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="what is open is told by /proc")
def test_a_server_that_is_stopped_while_it_reads_ends_without_a_trace(tmp_path: Path) -> None:
    write(tmp_path, "AAA.csv", 300_000)
    command = [sys.executable, "-m", "scanstream", "serve", "--port", "0", "--data", ":memory:"]
    server = subprocess.Popen(
        [*command, "--market", f"files:{tmp_path}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while not reads(server.pid, "AAA.csv"):
            assert server.poll() is None
        server.send_signal(signal.SIGTERM)
        printed, said = server.communicate(timeout=30)
    finally:
        server.kill()
        server.communicate()
    assert server.returncode == 0
    assert printed == ""
    assert "Traceback" not in said


FRAME = polars.DataFrame(
    {
        "symbol": ["A/X"] * 300,
        "timestamp": [FIRST + MINUTE * at for at in range(300)],
        **{field: [1.0 + at % 5 / 10 for at in range(300)] for field in FIELDS},
    }
)


def damaged(whole: bytes, kind: str) -> bytes:
    """The file as an accident leaves it."""
    chance = random.Random(kind)
    broken = bytearray(whole)
    if kind == "cut off":
        return bytes(broken[: len(broken) // 2])
    if kind == "empty":
        return b""
    if kind == "words":
        return b"PAR1 and no more"
    if kind == "another end":
        broken[-200:-8] = bytes(chance.randrange(256) for _ in range(192))
    if kind == "zeros":
        broken[20:600] = bytes(580)
    return bytes(broken)


KINDS = ("cut off", "empty", "words", "another end", "zeros")


def test_whatever_is_wrong_with_a_file_of_columns_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    FRAME.write_parquet(tmp_path / "whole.parquet")
    FRAME.write_ipc(tmp_path / "whole.feather", compression="lz4")
    expected = set()
    for ending in ("parquet", "feather"):
        whole = (tmp_path / f"whole.{ending}").read_bytes()
        for kind in KINDS:
            (tmp_path / f"{kind}.{ending}").write_bytes(damaged(whole, kind))
            expected.add(f"{kind}.{ending}")
    report = check(tmp_path)
    assert {part.file for part in report.files if part.problem} == expected
    for part in report.files:
        if part.problem:
            assert str(tmp_path / part.file) in part.problem
            assert "\n" not in part.problem
            assert "write it anew" in part.problem
        else:
            assert part.bars == 300
    assert capfd.readouterr().err == ""
    with pytest.raises(MarketError, match=r"another end\.feather"):  # the first of them
        FilesMarket(tmp_path).load()


def test_a_reader_that_dies_costs_its_file_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed here, as a crash or the kernel would; a panic comes out of it as an error."""
    FRAME.write_parquet(tmp_path / "AAA.parquet")
    for dies, words in (
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9"),
        (
            "class PanicException(BaseException): ...\ndef read_parquet_schema(_): raise PanicException('index\\nout')",
            "Panic",
        ),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ):
        (tmp_path / "polars.py").write_text(dies)
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(MarketError) as caught:
            FilesMarket(tmp_path / "AAA.parquet").load()
        assert words in caught.value.detail
        assert str(tmp_path / "AAA.parquet") in caught.value.detail
        assert "\n" not in caught.value.detail


def test_feather_wide_and_partitioned_files_are_read(tmp_path: Path) -> None:
    """All at once: every file has the same bars, so they are one symbol's, equal."""

    def market(name: str) -> Path:
        (tmp_path / name).mkdir()
        return tmp_path / name

    FRAME.write_ipc(market("feather") / "AAA.feather", compression="zstd")
    FRAME.write_ipc_stream(market("stream") / "AAA.arrow")
    FRAME.drop("symbol").write_parquet(market("own name") / "A_XXX[1].parquet")
    unnamed = FRAME.select(*FIELDS, polars.col("timestamp").alias("__index_level_0__"))  # as pandas puts it
    unnamed.write_parquet(market("pandas") / "A_XXX.parquet")
    unnamed.write_parquet(market("called text") / "A_XXX.csv")
    wide = {"Date": FRAME["timestamp"], **{f"('{field.title()}', 'A/X')": FRAME[field] for field in FIELDS}}
    polars.DataFrame(wide).write_parquet(market("wide") / "all.parquet")
    (market("partitioned") / "symbol=A%2FX").mkdir()
    FRAME.drop("symbol").write_parquet(tmp_path / "partitioned" / "symbol=A%2FX" / "part-0.parquet")
    report = check(tmp_path)
    assert report.problems == []
    assert {part.file.partition("/")[0]: (part.symbol, part.bars) for part in report.files} == {
        **dict.fromkeys(("feather", "stream", "wide", "partitioned"), ("A/X", 300)),
        **dict.fromkeys(("pandas", "called text"), ("A/XXX", 300)),
        "own name": ("A_XXX[1]", 300),
    }
    panel = FilesMarket(tmp_path / "wide").load()
    assert panel.times.tolist() == FRAME["timestamp"].to_list()
    for field in FIELDS:
        assert getattr(panel, field)[:, 0].tolist() == FRAME[field].to_list()


def test_bars_of_two_lengths_are_refused_naming_both(tmp_path: Path) -> None:
    write(tmp_path, "AAA.csv", 50)
    write(tmp_path, "BBB.csv", 20, step=5 * MINUTE)
    with pytest.raises(MarketError) as caught:
        FilesMarket(tmp_path).load()
    for words in ("bars of 1m", "AAA.csv", "of 5m", "BBB.csv", "a directory of its own"):
        assert words in caught.value.detail
    (tmp_path / "BBB.csv").rename(tmp_path / "AAA_5m.csv")  # of one symbol: that bars differ then is no surprise
    with pytest.raises(MarketError, match=r"bars of 1m .* and of 5m .*put each length"):
        FilesMarket(tmp_path).load()


def test_bars_that_never_open_together_are_refused_naming_both(tmp_path: Path) -> None:
    write(tmp_path, "AAA.csv", 50, step=60 * MINUTE)
    text = write(tmp_path, "BBB.csv", 50, step=60 * MINUTE).read_text()
    (tmp_path / "BBB.csv").write_text(text.replace("00000,", "90000,"))
    with pytest.raises(MarketError, match=r"never open together: AAA .*; a market has one time axis|never open"):
        FilesMarket(tmp_path).load()


@pytest.mark.parametrize("name", ["A,B.csv", "x" * 100 + ".csv", "A\x07.csv"])
def test_a_name_that_no_request_could_use_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, 5)
    with pytest.raises(MarketError, match="is no symbol"):
        FilesMarket(tmp_path).load()


def test_the_small_inputs_that_failed_once_are_served() -> None:
    if not CASES.is_dir():
        pytest.skip("../shared/cases is not here: tests/market/test_layouts.py has files like them")
    lengths = {case.name: FilesMarket(case).load().timeframe for case in CASES.iterdir()}
    assert lengths == {
        "c02_quarters": 15_000,
        "c04_capital_date": 86_400_000,
        "c04_unnamed_index": 86_400_000,
        "c04_dump_micro": 3_600_000,
        "s7_applefile": 3_600_000,
    }

"""A history that is written and read is the same, and small; a file that is none is refused."""

from array import array
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from harness.model.cell import Cell, Isolation
from harness.model.contest import Call, Contest
from harness.model.history import Batch, Calls
from harness.model.outcome import Answer, Failed, Ok, Unknown
from harness.runners import history_file
from harness.runners.history_file import HistoryError, HistoryWriter, read

CELL = Cell("made", "any", "none", "new", Isolation.READ_COMMITTED, "pg18")
CONTEST = Contest("new", tuple((Call("put", (("n", n),)),) for n in range(4)), "same n")
ANSWERS: list[Answer] = [Ok(True), Ok(None), Failed("23505", "text that is not kept"), Unknown()]


def batch_of(first: int, rounds: int) -> tuple[Batch, Calls]:
    batch = Batch(first, array("H", [0] * rounds), array("q", range(first * 2, (first + rounds) * 2, 2)))
    calls = Calls(first, answers=list(ANSWERS))
    for number in range(rounds):
        for session in range(4):
            calls.rounds.append(number)
            calls.sessions.append(session)
            calls.positions.append(0)
            began = 10**15 + (first + number) * 300_000 + session * 20_000
            calls.began_ns.append(began)
            calls.ended_ns.append(began + 90_000 + number * 7919 % 50_000)
            calls.told.append((number + session) % 4)
    return batch, calls


def test_what_is_read_is_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_file, "GROUP", 10)  # several groups, with dictionaries of their own
    path = tmp_path / "h.parquet"
    written = [batch_of(0, 3), batch_of(3, 4)]
    with HistoryWriter(path) as writer:
        for batch, calls in written:
            writer.note(CELL, [CONTEST], batch, calls)
    found = list(read(path))
    expected = [one for _, calls in written for one in calls]
    assert [(f.round, f.session, f.began_ns, f.ended_ns) for f in found] == [
        (e.round, e.session, e.began_ns, e.ended_ns) for e in expected
    ]
    assert [f.answer for f in found] == [history_file.written(e.answer) for e in expected]
    assert {f.answer for f in found} == {"told True", "told None", "failed 23505", str(Unknown())}
    assert {f.call for f in found} == {f"put(n={n})" for n in range(4)}
    assert all(f.key == f.round * 2 and f.cell == CELL.id for f in found)


def test_a_call_takes_less_than_forty_bytes(tmp_path: Path) -> None:
    path = tmp_path / "h.parquet"
    with HistoryWriter(path) as writer:
        for number in range(10):
            writer.note(CELL, [CONTEST], *batch_of(number * 2_500, 2_500))
    assert path.stat().st_size / 100_000 < 40


def test_other_files_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), str(other))
    with pytest.raises(HistoryError, match="no history of this version"):
        list(read(other))
    other.write_text("text")
    with pytest.raises(HistoryError, match="expected a history"):
        list(read(other))

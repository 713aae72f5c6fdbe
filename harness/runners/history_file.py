"""A history on disk: Parquet, a row for each call, written as it grows and read a group of rows at a time.

Ten bytes or so a call: times as differences, what repeats as numbers of a dictionary, and zstd over it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.model.cell import Cell
from harness.model.contest import Contest
from harness.model.history import Batch, Calls
from harness.model.outcome import Answer, Failed, Ok

GROUP = 100_000  # calls that are held in memory before they are written
FORMAT = "1"


class HistoryError(ValueError):
    """The file is no history, or the library that reads it is not there; the message says what to do."""


def arrow() -> Any:
    """The library, imported only when a history is wanted. Raises HistoryError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise HistoryError("a history needs pyarrow: pip install 'upsert-harness[hammer]'") from None
    return pyarrow


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call as it stands in the file."""

    cell: str
    round: int
    session: int
    position: int
    call: str  # with the keys of its template...
    key: int  # ...which are numbered from here on in this round
    began_ns: int
    ended_ns: int
    answer: str


class HistoryWriter:
    """Takes batches; closing writes what is left. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises HistoryError without pyarrow, OSError where the file cannot be made."""
        self._arrow = arrow()
        pa = self._arrow
        text = pa.dictionary(pa.int32(), pa.string())
        self._schema = pa.schema(
            [
                ("cell", text), ("round", pa.int64()), ("session", pa.uint8()), ("position", pa.uint8()),
                ("call", text), ("key", pa.int64()), ("began_ns", pa.int64()), ("took_ns", pa.int64()),
                ("answer", text),
            ],
            metadata={"harness.history": FORMAT},
        )  # fmt: skip
        delta = dict.fromkeys(("round", "key", "began_ns", "took_ns"), "DELTA_BINARY_PACKED")
        words = ["cell", "session", "position", "call", "answer"]
        self._file = pa.parquet.ParquetWriter(
            str(path), self._schema, compression="zstd", use_dictionary=words, column_encoding=delta
        )
        self._held: list[Any] = []
        self._count = 0

    def __enter__(self) -> "HistoryWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def note(self, cell: Cell, templates: Sequence[Contest], batch: Batch, calls: Calls) -> None:
        """Add the calls of a batch."""
        pa = self._arrow
        places = {place: number for number, place in enumerate(_places(templates))}
        texts = [str(templates[t].sessions[s][p]) for t, s, p in places]
        drawn, bases = batch.templates, batch.bases
        which = [places[drawn[n], s, p] for n, s, p in zip(calls.rounds, calls.sessions, calls.positions, strict=True)]
        columns = [
            pa.DictionaryArray.from_arrays(pa.array([0] * len(calls), pa.int32()), [cell.id]),
            pa.array([batch.first + n for n in calls.rounds], pa.int64()),
            pa.array(calls.sessions, pa.uint8()),
            pa.array(calls.positions, pa.uint8()),
            pa.DictionaryArray.from_arrays(pa.array(which, pa.int32()), texts),
            pa.array([bases[n] for n in calls.rounds], pa.int64()),
            pa.array(calls.began_ns, pa.int64()),
            pa.array([end - begin for begin, end in zip(calls.began_ns, calls.ended_ns, strict=True)], pa.int64()),
            pa.DictionaryArray.from_arrays(pa.array(calls.told, pa.int32()), [written(a) for a in calls.answers]),
        ]
        self._held.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._count += len(calls)
        if self._count >= GROUP:
            self._write()

    def _write(self) -> None:
        if self._held:
            table = self._arrow.Table.from_batches(self._held, self._schema).unify_dictionaries()
            self._file.write_table(table.combine_chunks(), row_group_size=GROUP)
        self._held, self._count = [], 0

    def close(self) -> None:
        self._write()
        self._file.close()


def _places(templates: Sequence[Contest]) -> Iterator[tuple[int, int, int]]:
    for number, contest in enumerate(templates):
        for ref in contest.operations:
            yield number, ref.session, ref.position


def written(answer: Answer) -> str:
    """`told True`, `failed 23505`, `refused: sold`, `crashed: KeyError`, `unknown`"""
    match answer:
        case Ok(value):
            return f"told {value!r}"
        case Failed(sqlstate):
            return f"failed {sqlstate}"
    return str(answer)


def read(path: Path) -> Iterator[Recorded]:
    """The calls of a file, in the order in which they were written; no more than a group of them is held in memory.

    Raises HistoryError for a file that is no history.
    """
    for group in groups(path):
        for row in group.to_pylist():
            yield Recorded(
                row["cell"], row["round"], row["session"], row["position"], row["call"], row["key"], row["began_ns"],
                row["began_ns"] + row["took_ns"], row["answer"],
            )  # fmt: skip


def groups(path: Path) -> Iterator[Any]:
    """Record batches of the file. Raises HistoryError."""
    pa = arrow()
    try:
        file = pa.parquet.ParquetFile(str(path))
    except pa.ArrowInvalid:
        raise HistoryError(f"{path}: expected a history, as 'harness hammer --history FILE' writes it") from None
    metadata = file.schema_arrow.metadata or {}
    if metadata.get(b"harness.history") != FORMAT.encode():
        raise HistoryError(f"{path}: this is Parquet, but no history of this version of the harness")
    with file:
        yield from file.iter_batches(batch_size=GROUP)

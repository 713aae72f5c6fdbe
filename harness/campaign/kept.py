"""What a comparison has found out so far, line by line in a file: stopped, it goes on where it was."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from harness.model.cell import Cell, Isolation
from harness.model.comparison import Hammered, Judged
from harness.model.cost import Block, Contestant, Measured, Mix
from harness.model.verdict import Rate, Verdict

FORMAT = 1
FOLDER = Path(".harness") / "compare"


class InUse(RuntimeError):
    """Another comparison of the same scenario with the same options is running."""


def key(parts: Mapping[str, object]) -> str:
    """Of all that results depend on: equal keys mean that results can stand side by side."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass
class Kept:
    """The results of one comparison; each is on disk before it counts."""

    path: Path
    judged: dict[Cell, Judged] = field(default_factory=dict)
    impossible: set[Cell] = field(default_factory=set)
    measured: list[Measured] = field(default_factory=list)
    dropped: dict[tuple[str, Contestant], str] = field(default_factory=dict)  # by server
    hammered: dict[str, Hammered] = field(default_factory=dict)
    ended: bool = False  # a run came to its own end since

    def __enter__(self) -> Self:
        """Raises InUse."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.path.with_suffix(".lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InUse(
                f"a comparison of this scenario with these options is running already: {self.path} is in use; "
                "wait for it, or run in another folder"
            ) from None
        if self.path.exists():
            self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def empty(self) -> bool:
        return not (self.judged or self.measured or self.impossible)

    def forget(self) -> None:
        """Begin anew."""
        self.path.unlink(missing_ok=True)
        for known in (self.judged, self.impossible, self.measured, self.dropped, self.hammered):
            known.clear()
        self.ended = False

    # ---- adding ---------------------------------------------------------------------------------------------------

    def judge(self, one: Judged) -> None:
        self.judged[one.cell] = one
        self._write("judged", {**asdict(one), "cell": _cell(one.cell)})

    def rule_out(self, cell: Cell) -> None:
        self.impossible.add(cell)
        self._write("impossible", _cell(cell))

    def measure(self, blocks: Iterable[Measured]) -> None:
        for one in blocks:
            self.measured.append(one)
            self._write("measured", asdict(one))

    def drop(self, server: str, contestant: Contestant, why: str) -> None:
        self.dropped[server, contestant] = why
        self._write("dropped", {"server": server, "contestant": asdict(contestant), "why": why})

    def hammer(self, cell: str, one: Hammered) -> None:
        self.hammered[cell] = one
        self._write("hammered", {"cell": cell, **asdict(one)})

    def end(self) -> None:
        self.ended = True
        self._write("ended", True)

    def _write(self, what: str, value: object) -> None:
        self.ended = self.ended and what == "ended"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"format": FORMAT, what: value}) + "\n")

    # ---- reading --------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """A run that was killed may have left half a line: it is cut off, and its result is found out again."""
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            self.path.write_bytes(whole)
        for line in whole.splitlines():
            members = json.loads(line)
            if members.pop("format") != FORMAT:
                raise ValueError(f"{self.path} is of another version of the harness: --fresh begins anew")
            ((what, value),) = members.items()
            self._take(what, value)

    def _take(self, what: str, value: Any) -> None:
        self.ended = what == "ended"
        match what:
            case "judged":
                cell = _read_cell(value.pop("cell"))
                value["verdict"], value["kinds"] = Verdict(value["verdict"]), tuple(value["kinds"])
                self.judged[cell] = Judged(cell, **value)
            case "impossible":
                self.impossible.add(_read_cell(value))
            case "measured":
                self.measured.append(_read_measured(value))
            case "dropped":
                self.dropped[value["server"], _read_contestant(value["contestant"])] = value["why"]
            case "hammered":
                self.hammered[value["cell"]] = Hammered(Rate(**value["rate"]), tuple(value["kinds"]))


def _cell(cell: Cell) -> dict[str, str]:
    return asdict(cell)


def _read_cell(value: dict[str, str]) -> Cell:
    return Cell(**{**value, "isolation": Isolation(value["isolation"])})  # type: ignore[arg-type]  # str but for one


def _read_contestant(value: dict[str, str]) -> Contestant:
    return Contestant(value["strategy"], value["layout"], Isolation(value["isolation"]))


def _read_measured(value: dict[str, Any]) -> Measured:
    block = value["block"]
    block["latencies"] = {int(number): count for number, count in block["latencies"].items()}
    return Measured(
        value["server"], value["round"], _read_contestant(value["contestant"]), Mix(value["mix"]), Block(**block)
    )

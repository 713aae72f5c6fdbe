"""What a run leaves for the next one: witnesses, what is running, what was fixed; a folder, `.harness/` by default.

`witnesses/` holds one file for each kind of finding of a cell, `retired/` those that no longer show it, `running/` the
journals of processes at work, and of those that died. Files appear whole or not at all; a folder that cannot be written
to is said once, and costs nothing but itself.
"""

import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from harness.campaign.job import Job
from harness.campaign.recall import Known, Recalled, Retired
from harness.campaign.witness_file import Witness, WitnessError, read_witness, short_digest, witness_name, witness_text
from harness.model.cell import Cell
from harness.model.codec import CodecError
from harness.model.verdict import CellResult, Finding, Verdict
from harness.runners.journal import SUFFIX, JournalError, Running, lives, read_journal
from harness.scenario.discovery import digests, shipped
from harness.scenario.errors import ScenarioError
from harness.scenario.expectations import expected, is_as_expected
from harness.scenario.language import Scenario

DEFAULT = ".harness"
OFF = "off"
_LOCK_S = 10.0  # a writer holds the lock for milliseconds
_DIED = "-died-"


def settled_store(given: str | None, *, off: bool = False) -> Path | None:
    """Where the store is: what was asked for, else HARNESS_STORE, else [tool.harness] of pyproject.toml, else .harness.

    None: nowhere, which `off` asks for. Raises ScenarioError for a value that is none.
    """
    if off:
        return None
    value = given or os.environ.get("HARNESS_STORE") or configured(Path("pyproject.toml")) or DEFAULT
    return None if value == OFF else Path(value)


def configured(pyproject: Path) -> str | None:
    """`store` of [tool.harness]: a folder, or `false` for none."""
    try:
        value = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {}).get("harness", {}).get("store")
    except (OSError, tomllib.TOMLDecodeError):  # whoever needs the file for more says what is wrong with it
        return None
    if value is False:
        return OFF
    if value is not None and not isinstance(value, str):
        raise ScenarioError(
            f"[tool.harness] store = {value!r}: expected a folder such as {DEFAULT!r}, or false for none", pyproject
        )
    return value


@dataclass
class _Kept:
    """A witness file of the store."""

    path: Path
    witness: Witness
    shows: bool | None = None  # when it was replayed in this run


@dataclass
class _Counts:
    replayed: int = 0
    showing: int = 0
    written: int = 0
    retired: int = 0

    def __str__(self) -> str:
        parts = [
            f"{self.replayed} known {_witnesses(self.replayed)} replayed first, {self.showing} still show",
            f"{self.written} written to witnesses/",
            f"{self.retired} moved to retired/",
        ]
        return "; ".join(part for part, n in zip(parts, (self.replayed, self.written, self.retired), strict=True) if n)


def _witnesses(count: int) -> str:
    return "witness" if count == 1 else "witnesses"


class Store:
    """The folder, for one run. `say` is told at once what a person should know at once."""

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda text: None) -> None:
        self.folder, self.say = folder, say
        self._kept: dict[str, list[_Kept]] = {}  # by cell id
        self._dead: list[tuple[Path, Running]] = []
        self._counts = _Counts()
        self._troubled = False

    @property
    def running(self) -> Path:
        return self.folder / "running"

    def place_for_journals(self) -> Path | None:
        """`running/`, made; None where it cannot be."""
        try:
            self.running.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._trouble(error)
            return None
        return self.running

    def prepared(self, job: Job, scenario: Scenario) -> Job:
        """The job with what is known of its cells."""
        return replace(job, known=self.known(job.cells, scenario), scenario_file=self._place(scenario) or "")

    def open(self) -> None:
        """Read what is there."""
        for path in sorted(self.folder.glob("witnesses/*.json")):
            try:
                witness = read_witness(path.read_text(encoding="utf-8"))
            except (WitnessError, UnicodeDecodeError) as error:
                self.say(f"{path}: {error}")
                continue
            except OSError as error:
                self._trouble(error)
                continue
            self._kept.setdefault(witness.cell.id, []).append(_Kept(path, witness))
        self._dead = list(dict(self._bury_the_dead()).items())

    # ---- failures first -------------------------------------------------------------------------------------------

    def known(self, cells: Iterable[Cell], scenario: Scenario) -> tuple[Known, ...]:
        """The witnesses of these cells, to be replayed before anything else is explored."""
        place = self._place(scenario)
        return tuple(
            Known(kept.path.name, kept.witness.line, kept.witness.kind, kept.witness.steps, dict(kept.witness.digests))
            for cell in cells
            for kept in self._kept.get(cell.id, ())
            if kept.witness.scenario_file == place
        )

    def tell_the_dead(self, cells: Iterable[Cell]) -> None:
        """What processes of an earlier run died in, as far as it is of these cells."""
        mine = {cell.id for cell in cells}
        for path, running in self._dead:
            if running.cell_id in mine:
                self.say(f"{running.cell_id}: a process died {running}; harness replay {path}")

    def heard(self, event: Recalled | Retired, scenario: Scenario) -> None:
        """What became of a known witness. One that shows what a rule of its strategy expects is not worth a line."""
        for kept in [kept for kept in self._kept.get(event.cell.id, ()) if kept.path.name == event.file]:
            if isinstance(event, Recalled):
                self._counts.replayed += 1
                self._counts.showing += event.shows
                kept.shows = event.shows
                if not (event.shows and _is_covered(event.cell, kept.witness, scenario)):
                    self.say(f"{event.cell.id}: {event.text}; {kept.path}")
            elif self._retire(kept.path):
                self._forget(event.cell, kept)
                self._counts.retired += 1
                self.say(f"{event.cell.id}: {event.text}; moved to {self.folder / 'retired' / event.file}")

    # ---- what was found -------------------------------------------------------------------------------------------

    def explored(self, result: CellResult, scenario: Scenario) -> None:
        """Keep the witness of each finding; one of a kind, and of two that show it the smaller."""
        if result.verdict is not Verdict.UNKNOWN:
            self._retire_the_dead(result.cell)
        for finding in result.findings:
            self._keep(finding, scenario)

    def _keep(self, finding: Finding, scenario: Scenario) -> None:
        cell, kind = finding.schedule.cell, finding.violation.name
        place = self._place(scenario)
        try:
            text = witness_text(finding, digests=digests(scenario, cell.layout), scenario_file=place)
            name = witness_name(finding)
        except CodecError as error:
            self.say(f"{cell.id}: no witness file for {kind}: {error}")
            return
        new = _Kept(self._path(name), read_witness(text), shows=True)
        others = [k for k in self._kept.get(cell.id, ()) if (k.witness.kind, k.witness.scenario_file) == (kind, place)]
        for other in others:
            if other.path.name == name or (other.shows and other.witness.size <= new.witness.size):
                return
        if not self._write(new.path, text):
            return
        self._counts.written += 1
        self._kept.setdefault(cell.id, []).append(new)
        for other in others:
            if self._retire(other.path):
                self._forget(cell, other)

    def summary(self) -> str:
        """What was read and written where, in a line; empty if nothing was."""
        return f"store {self.folder}: {self._counts}" if str(self._counts) else ""

    def close(self) -> None:
        """Name what died in this run; leave no empty folders behind."""
        for _ in self._bury_the_dead():
            pass
        for folder in (self.running, self.folder):
            with suppress(OSError):
                (folder / ".lock").unlink(missing_ok=True)
                folder.rmdir()

    # ---- those that died ------------------------------------------------------------------------------------------

    def _bury_the_dead(self) -> Iterator[tuple[Path, Running]]:
        for path in sorted(self.running.glob("*.part")):
            if not lives(path):
                path.unlink(missing_ok=True)
        for path in sorted(self.running.glob(f"*{SUFFIX}")):
            try:
                buried = None if lives(path) else bury(path)
            except JournalError as error:
                self.say(f"{path}: {error}; delete it")
                continue
            except OSError as error:
                self._trouble(error)
                continue
            if buried is not None:
                yield buried

    def _retire_the_dead(self, cell: Cell) -> None:
        for path, running in self._dead:
            if running.cell_id == cell.id and self._retire(path):
                self.say(f"{cell.id}: explored, and nothing died; moved to {self.folder / 'retired' / path.name}")
        self._dead = [(path, running) for path, running in self._dead if running.cell_id != cell.id]

    # ---- files ----------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self.folder / "witnesses" / name

    def _place(self, scenario: Scenario) -> str | None:
        """The scenario's file, as seen from where the store stands; None: it is found by its name."""
        path = Path(scenario.path).resolve()
        if path.parent == shipped().resolve():
            return None
        return Path(os.path.relpath(path, self.folder.resolve().parent)).as_posix()

    def _forget(self, cell: Cell, kept: _Kept) -> None:
        self._kept[cell.id].remove(kept)

    def _write(self, path: Path, text: str) -> bool:
        try:
            with self._locked():
                path.parent.mkdir(parents=True, exist_ok=True)
                handle, part = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
                try:
                    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                        file.write(text)
                    os.chmod(part, 0o644)
                    os.replace(part, path)
                except BaseException:
                    with suppress(OSError):
                        os.unlink(part)
                    raise
        except OSError as error:
            return self._trouble(error)
        return True

    def _retire(self, path: Path) -> bool:
        try:
            with self._locked(), suppress(FileNotFoundError):  # another run was quicker
                (self.folder / "retired").mkdir(parents=True, exist_ok=True)
                os.replace(path, self.folder / "retired" / path.name)
        except OSError as error:
            return self._trouble(error)
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=_LOCK_S)
        try:
            lock.acquire()
        except Timeout as held:
            raise OSError(
                None, f"{self.folder / '.lock'} is held by another process for more than {_LOCK_S:g} s"
            ) from held
        try:
            yield
        finally:
            lock.release()

    def _trouble(self, error: OSError) -> bool:
        if not self._troubled:
            self._troubled = True
            said = (error.strerror or str(error)).lower()
            self.say(f"store {self.folder}: {said}; what is found is not kept (another: --store DIR, none: --no-store)")
        return False


def _is_covered(cell: Cell, witness: Witness, scenario: Scenario) -> bool:
    strategy = next(s for s in scenario.strategies if s.name == cell.strategy)
    rule = expected(strategy, cell, any_state=not witness.stays)
    return is_as_expected(rule, Verdict.UNSAFE, {witness.kind})


def bury(journal: Path) -> tuple[Path, Running] | None:
    """Give the journal of a dead process the name of what it died in; None where nothing ran: then it is removed.

    Equal deaths have equal names, so that they do not pile up. Raises JournalError, OSError.
    """
    running = read_journal(journal.read_bytes())
    if running is None:
        journal.unlink(missing_ok=True)
        return None
    if _DIED in journal.name:
        return journal, running
    front = re.sub(r"[^\w.-]+", "-", running.cell_id.rstrip("]"))[:180]
    name = journal.with_name(f"{front}{_DIED}{short_digest(str(running).encode())}{SUFFIX}")
    os.replace(journal, name)
    return name, running


def scenario_of(witness_file: Path, scenario_file: str | None) -> str | None:
    """Where the scenario's file is, of a witness or journal in a store: beside the store, or seen from here."""
    if not scenario_file:
        return None
    parents = witness_file.resolve().parents
    roots = [*parents[2:3], Path.cwd()]
    return next((str(root / scenario_file) for root in roots if (root / scenario_file).is_file()), None)

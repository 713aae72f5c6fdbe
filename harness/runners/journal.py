"""What is running right now, on disk before it runs: a process that is killed leaves the schedule that killed it.

One file for each process, mapped into memory: a choice costs two bytes written there, and the kernel keeps them
whatever becomes of the process. No byte is ever written over that a reader needs at that moment, so the file can be
read after any instruction. What a power cut leaves is not promised: nothing is synced.

    0   magic, 8 bytes
    8   how the trial runs: 0 none does, else a number of `Way`
    9   gates held (0 or 1), statements aged (0 or 1), the failing client (session + 1, command in 2 bytes, how)
    15  unused
    16  choices, 2 bytes each, up to a 0: session and event together, then the options as bits
    .   whether the header is whole (0 or 1), its length and CRC-32 (4 bytes each), the header: JSON
"""

import fcntl
import json
import mmap
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.model.cell import Cell
from harness.model.codec import AnyEnum, CodecError, cell_of, decode, encode, no_enums
from harness.model.contest import Contest
from harness.model.schedule import Choice, Failing, Fault, Gates, Schedule
from harness.sessions.steering import Scheduler

SUFFIX = ".journal"
_MAGIC = b"harness1"
_WAY, _FLAGS, _CHOICES = 8, 9, 16
_CHOICES_MAX = 4096  # bytes; a trial takes 400 steps at most
_HEADER = _CHOICES + _CHOICES_MAX
_TEXT = _HEADER + 9
_SIZE = 65_536
_WORDS_MAX = 4_000  # of a contest whose schedule line would not fit
_EVENTS = ("run", "victim", "wake", "timeout")
_EVENT = {event: number for number, event in enumerate(_EVENTS, 1)}
_FAILINGS = tuple(Failing)


class Way(IntEnum):
    """How the operations of a contest are run."""

    NONE = 0
    CHOSEN = 1  # a step at a time, as a scheduler chooses
    ALONE = 2  # one operation after the other
    SPECIFICATION = 3  # the same, of the operations' own bodies on bare tables
    AT_ONCE = 4  # freely: in which order nobody knows


class JournalError(ValueError):
    """A file that is no journal, or is damaged where nothing of ours could have damaged it."""


class Journal:
    """Written by one process, into one file, while it lives; locked as long, so that others know that it does."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where nothing can be written."""
        self.path = path
        beside = path.with_suffix(".part")
        self._file = open(beside, "x+b")  # noqa: SIM115 - open for as long as the process runs code under test
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Blocks are taken now: on a disk that is full later, touching a hole of the file would be a SIGBUS.
            self._file.write(_MAGIC + bytes(_SIZE - len(_MAGIC)))
            self._file.flush()
            self._map = mmap.mmap(self._file.fileno(), _SIZE)
            os.rename(beside, path)  # from now on it is seen, and it is locked
        except BaseException:
            self._file.close()
            beside.unlink(missing_ok=True)
            raise
        self._contest: Contest | None = None
        self._at = _CHOICES

    def at(self, cell: Cell, digest: str, scenario_file: str) -> None:
        """Which cell is explored from now on; `digest` is that of its schedules."""
        self._cell, self._digest, self._scenario_file = cell, digest, scenario_file
        self._write_header(None)

    def begins(
        self, contest: Contest, way: Way, *, gates: bool = False, aged: bool = False, fault: Fault | None = None
    ) -> None:
        """A trial is about to run. `at` was called before."""
        memory = self._map
        memory[_WAY] = 0
        if contest is not self._contest:
            self._write_header(contest)
        memory[_CHOICES] = 0
        failing = (0, 0, 0) if fault is None else (fault.session + 1, fault.command, _FAILINGS.index(fault.failing))
        struct.pack_into("<BBBHB", memory, _FLAGS, gates, aged, *failing)
        self._at = _CHOICES
        memory[_WAY] = way

    def _write_header(self, contest: Contest | None) -> None:
        memory = self._map
        memory[_WAY] = memory[_HEADER] = 0
        self._contest = contest
        text = _header(self._cell, contest, self._digest, self._scenario_file)
        if _TEXT + len(text) > _SIZE:
            text = _header(self._cell, contest, self._digest, self._scenario_file, words_only=True)
        struct.pack_into("<II", memory, _HEADER + 1, len(text), zlib.crc32(text))
        memory[_TEXT : _TEXT + len(text)] = text
        memory[_HEADER] = 1

    def chosen(self, session: int, options: tuple[int, ...], event: str) -> None:
        """Called before what was chosen is done."""
        at = self._at
        if at + 2 >= _HEADER or session > 62:
            return
        memory = self._map
        memory[at + 2] = 0
        memory[at + 1] = _bits(options)
        memory[at] = 4 * session + _EVENT[event]  # last: until now the choices ended here
        self._at = at + 2

    def ends(self) -> None:
        """The trial came to its end."""
        self._map[_WAY] = 0

    def discard(self) -> None:
        """The process has ended well: there is nothing to tell."""
        with suppress(OSError):
            self.path.unlink()
        self._map.close()
        self._file.close()


@lru_cache(maxsize=1024)
def _bits(options: tuple[int, ...]) -> int:
    """0 where they do not fit into a byte: they are compared on replay, nothing else."""
    bits = sum(1 << option for option in options)
    return bits if bits < 256 else 0


class Noted:
    """A scheduler whose choices are written down before they are followed."""

    def __init__(self, inner: Scheduler, journal: Journal) -> None:
        self._inner, self._journal = inner, journal

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        chosen = self._inner.choose(options, current, event)
        self._journal.chosen(chosen, options, event)
        return chosen


def _header(cell: Cell, contest: Contest | None, digest: str, scenario_file: str, *, words_only: bool = False) -> bytes:
    line: str | None = None
    if contest is not None and not words_only:
        with suppress(CodecError):  # an argument without a written form: the words have to do
            line = encode(Schedule(cell, contest, (), Gates.NONE, False, digest))
    words = None if contest is None else str(contest)[:_WORDS_MAX]
    return json.dumps({"cell": cell.id, "contest": words, "line": line, "scenario_file": scenario_file}).encode()


# Read.


@dataclass(frozen=True, slots=True)
class Running:
    """What a process was at when it died."""

    cell_id: str
    contest: str | None  # in words; None: no trial of the cell had begun
    way: Way
    choices: tuple[Choice, ...]  # the last of them is what it died in; their fingerprints are not known
    line: str | None  # of the contest, without choices; None: an argument has no written form
    scenario_file: str
    gates: bool
    aged: bool
    fault: Fault | None

    @property
    def cell(self) -> Cell | None:
        return None if self.line is None else cell_of(self.line)

    def schedule(self, enums: AnyEnum = no_enums, *, gates: Gates = Gates.USUAL) -> Schedule | None:
        """As far as it was chosen; None where there is nothing that could be run again."""
        if self.line is None or self.way not in (Way.CHOSEN, Way.ALONE):
            return None
        alone = self.way is Way.ALONE
        choices = tuple(replace(choice, event="alone") if alone else choice for choice in self.choices)
        held = gates if self.gates else Gates.NONE
        return replace(
            decode(self.line, enums), choices=choices, gates=held, aged=self.aged, alone=alone, fault=self.fault
        )

    def __str__(self) -> str:
        """`in step 3 of the contest from 'new' (same key): s1: put('a'); s2: put('a'); steps taken: s1 s2 s1`"""
        taken = " ".join(f"s{choice.session + 1}" for choice in self.choices)
        steps = sum(choice.event == "run" for choice in self.choices)
        if self.contest is None:
            return "before its first trial"
        match self.way:
            case Way.NONE:
                return f"between two trials of the contest {self.contest}"
            case Way.CHOSEN if not steps:
                return f"before the first step of the contest {self.contest}"
            case Way.CHOSEN:
                aged = ", with generic plans" if self.aged else ""
                fault = f", in which {self.fault}" if self.fault else ""
                return f"in step {steps} of the contest {self.contest}{aged}{fault}; steps taken: {taken}"
            case Way.ALONE:
                return f"in operation {max(steps, 1)}, run one at a time ({taken}), of the contest {self.contest}"
            case Way.SPECIFICATION:
                return f"in the operations' own bodies, run one at a time on bare tables, of the contest {self.contest}"
            case Way.AT_ONCE:
                return f"in the contest {self.contest}, whose sessions ran at once: their order is not known"


def read_journal(data: bytes) -> Running | None:
    """What ran when the file was written to last; None: nothing did yet. Raises JournalError."""
    if not _MAGIC.startswith(data[: len(_MAGIC)]):
        raise JournalError("this is no journal of the harness")
    if len(data) < _TEXT or data[:8] != _MAGIC or not data[_HEADER]:
        return None  # killed while it was made, or between two contests
    length, checksum = struct.unpack_from("<II", data, _HEADER + 1)
    text = data[_TEXT : _TEXT + length]
    if len(text) < length or zlib.crc32(text) != checksum:
        raise JournalError("this journal is damaged: its header and its checksum differ")
    members: dict[str, Any] = json.loads(text)
    gates, aged, failing, command, how = struct.unpack_from("<BBBHB", data, _FLAGS)
    try:
        return Running(
            cell_id=members["cell"],
            contest=members["contest"],
            way=Way(data[_WAY]),
            choices=_choices(data[_CHOICES:_HEADER]),
            line=members["line"],
            scenario_file=members["scenario_file"],
            gates=bool(gates),
            aged=bool(aged),
            fault=Fault(failing - 1, command, _FAILINGS[how]) if failing else None,
        )
    except (ValueError, IndexError, KeyError) as error:
        raise JournalError(f"this journal is damaged: {error}") from error


def _choices(data: bytes) -> tuple[Choice, ...]:
    choices = []
    for first, mask in zip(data[::2], data[1::2], strict=False):
        if not first:
            break
        session, event = divmod(first - 1, 4)
        choices.append(Choice(session, tuple(bit for bit in range(8) if mask >> bit & 1), _EVENTS[event]))
    return tuple(choices)


def is_journal(data: bytes) -> bool:
    return data.startswith(_MAGIC)


def lives(path: Path) -> bool:
    """Whether the process that writes this file is still there: the kernel lets go of a dead one's lock."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # gone meanwhile
        return False
    return False

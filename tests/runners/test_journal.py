"""The journal of a process: readable after any write and any kill, and true about what ran."""

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.model.cell import Cell, Isolation
from harness.model.contest import Call, Contest
from harness.model.schedule import Choice, Failing, Fault, Gates
from harness.runners.journal import Journal, JournalError, Running, Way, is_journal, lives, read_journal

CELL = Cell("items", "naive", "none", "new", Isolation.READ_COMMITTED, "pg18")
ONE, OTHER = (
    Contest("new", ((Call("put", (("key", key),)),), (Call("put", (("key", "b"),)),)), "same key") for key in "ab"
)
RUN = [(0, (0, 1), "run"), (1, (0, 1), "run"), (0, (0, 1), "victim"), (1, (1,), "run")]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "one.journal")
    made.at(CELL, "0123456789ab", "items.py")
    yield made
    made.discard()


def now(journal: Journal) -> Running:
    running = read_journal(journal.path.read_bytes())
    assert running is not None
    return running


def test_what_was_chosen_is_there_before_it_runs(journal: Journal) -> None:
    fault = Fault(1, 300, Failing.LOST)
    journal.begins(ONE, Way.CHOSEN, gates=True, fault=fault)
    for choice in RUN:
        journal.chosen(*choice)
    running = now(journal)
    schedule = running.schedule()
    assert schedule is not None
    assert schedule.choices == tuple(Choice(*choice) for choice in RUN)
    assert (schedule.cell, schedule.contest, schedule.fault) == (CELL, ONE, fault)
    assert (schedule.gates, schedule.aged, schedule.digest) == (Gates.USUAL, False, "0123456789ab")
    assert str(running).startswith("in step 3 of the contest from 'new' (same key): s1: put(key='a'); s2")
    assert str(running).endswith("steps taken: s1 s2 s1 s2")


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (Way.NONE, "between two trials of"),
        (Way.ALONE, "in operation 1, run one at a time (s2), of"),
        (Way.SPECIFICATION, "in the operations' own bodies"),
        (Way.AT_ONCE, "their order is not known"),
    ],
)
def test_each_way_of_running_has_its_words(journal: Journal, way: Way, said: str) -> None:
    journal.begins(ONE, way)
    journal.chosen(1, (1,), "run")
    assert said in str(now(journal))


def test_a_trial_leaves_nothing_of_the_one_before(journal: Journal) -> None:
    journal.begins(ONE, Way.CHOSEN, aged=True, fault=Fault(0, 0, Failing.CUT))
    journal.chosen(1, (0, 1), "run")
    journal.begins(OTHER, Way.CHOSEN)
    running = now(journal)
    assert (running.choices, running.aged, running.fault, running.contest) == ((), False, None, str(OTHER))


def test_before_the_first_trial_the_cell_is_known(journal: Journal) -> None:
    assert (now(journal).cell_id, str(now(journal))) == (CELL.id, "before its first trial")


def test_a_contest_without_a_written_form_is_told_in_words(journal: Journal) -> None:
    journal.begins(Contest("new", ((Call("put", (("key", object),)),),), ""), Way.CHOSEN)
    assert now(journal).schedule() is None
    assert "put(key=<class 'object'>)" in str(now(journal))


def test_a_contest_that_is_too_long_is_told_in_part(journal: Journal) -> None:
    data = os.urandom(100_000).hex()
    journal.begins(Contest("new", ((Call("put", (("key", data),)),),), ""), Way.CHOSEN)
    assert now(journal).schedule() is None
    assert data[:1000] in str(now(journal))


def test_more_choices_than_there_is_room_for_do_no_harm(journal: Journal) -> None:
    journal.begins(ONE, Way.CHOSEN)
    for _ in range(5000):
        journal.chosen(1, (0, 1), "run")
    assert set(now(journal).choices) == {Choice(1, (0, 1))}
    assert now(journal).contest == str(ONE)


def test_more_sessions_than_bits_are_still_told_apart(journal: Journal) -> None:
    journal.begins(ONE, Way.CHOSEN)
    journal.chosen(40, (3, 40), "run")
    journal.chosen(1, (1,), "run")
    assert [choice.session for choice in now(journal).choices] == [40, 1]


# Readable whenever it is read.


class Watched:
    """Memory that is copied after each write."""

    def __init__(self, size: int) -> None:
        self.memory, self.seen = bytearray(size), [bytes(size)]

    def __setitem__(self, where: int | slice, what: int | bytes) -> None:
        self.memory[where] = what  # type: ignore[assignment, index]
        self.seen.append(bytes(self.memory))


def test_it_can_be_read_after_every_single_write(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    before = journal.path.read_bytes()
    watched = Watched(len(before))
    watched.memory[:] = before
    watched.seen.clear()
    real, journal._map = journal._map, watched  # type: ignore[assignment]
    packed = struct.pack_into

    def pack_into(form: str, memory: Watched, at: int, *values: int) -> None:
        packed(form, memory.memory, at, *values)
        watched.seen.append(bytes(watched.memory))

    monkeypatch.setattr("harness.runners.journal.struct.pack_into", pack_into)
    for contest in (ONE, OTHER, ONE):
        for _ in range(2):
            journal.begins(contest, Way.CHOSEN)
            for choice in RUN:
                journal.chosen(*choice)
            journal.ends()
    journal._map = real
    told = [read_journal(copy) for copy in watched.seen]
    assert len(told) > 100
    everything = tuple(Choice(*choice) for choice in RUN)
    for running in filter(None, told):
        assert running.contest in (None, str(ONE), str(OTHER))
        if running.way is Way.CHOSEN:
            assert running.choices == everything[: len(running.choices)]
    assert {len(running.choices) for running in filter(None, told)} == {0, 1, 2, 3, 4}


def test_a_part_of_a_file_is_read_as_nothing_or_refused(journal: Journal) -> None:
    journal.begins(ONE, Way.CHOSEN)
    whole = journal.path.read_bytes()
    for end in [*range(40), 4111, 4120, 4121, 4122, 4200, len(whole) - 1]:
        try:
            running = read_journal(whole[:end])
        except JournalError as error:
            assert "differ" in str(error)
        else:
            assert running is None or running.contest == str(ONE)


@pytest.mark.parametrize("data", [b"h1:items::naive", b"{}", b"PK\3\4" + bytes(9000)])
def test_other_files_are_no_journals(data: bytes) -> None:
    assert not is_journal(data)
    with pytest.raises(JournalError):
        read_journal(data)


def test_bytes_that_nobody_wrote_are_refused(journal: Journal) -> None:
    journal.begins(ONE, Way.CHOSEN)
    data = bytearray(journal.path.read_bytes())
    data[4130] ^= 1
    with pytest.raises(JournalError, match="checksum"):
        read_journal(bytes(data))


# Whose it is.

WRITES = """
import sys
from pathlib import Path
from tests.runners.test_journal import CELL, ONE, OTHER, RUN
from harness.runners.journal import Journal, Way
journal = Journal(Path(sys.argv[1]))
journal.at(CELL, "0123456789ab", "items.py")
print("ready", flush=True)
while True:
    for contest in (ONE, OTHER):
        journal.begins(contest, Way.CHOSEN)
        for choice in RUN:
            journal.chosen(*choice)
        journal.ends()
"""


def test_a_writer_that_is_killed_leaves_what_it_was_at(tmp_path: Path) -> None:
    path = tmp_path / "killed.journal"
    with subprocess.Popen([sys.executable, "-c", WRITES, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        assert lives(path)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert not lives(path)
    running = read_journal(path.read_bytes())
    assert running is None or running.contest in (None, str(ONE), str(OTHER))


def test_one_that_ended_well_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "one.journal")
    assert lives(journal.path)
    journal.discard()
    assert list(tmp_path.iterdir()) == []

"""What happened in a trial, step by step, as plain text values: the material of every interleaving table."""

from dataclasses import dataclass
from enum import StrEnum


class Happening(StrEnum):
    SENT = "sent"  # a step that ran to its end
    WAITING = "waiting"  # a step that now waits for a lock, or stands at a gate
    COMPLETED = "completed"  # an earlier step that has now come to its end
    ANSWERED = "answered"  # what the client was told


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the interleaving table, in the column of its session."""

    step: int  # from 0; lines of one step share the number
    session: int
    happening: Happening
    statement: str  # as sent, with its parameters; for ANSWERED the call
    result: str  # "INSERT 0 1", "1 row", "23505 unique_violation", "waits for s1", "at gate BEFORE INSERT ON purchase"


Trace = tuple[Event, ...]

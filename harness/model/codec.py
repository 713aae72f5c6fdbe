"""A schedule as one printable line and back: `h1:` + the cell's id + everything else, packed.

The id stays readable so that a person sees what a line is about. It is the dictionary of the compression, too: a line
whose id was altered does not unpack.
"""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from harness.model.cell import Cell, Isolation
from harness.model.contest import Call, Contest
from harness.model.schedule import Choice, Failing, Fault, Gates, Schedule

VERSION = 1
_LINE = re.compile(r"h(?P<version>\d+):(?P<rest>.*)", re.ASCII | re.DOTALL)
_FRONT = re.compile(r"(\w+)::(\w+)\[(\w+),(\w+),(\w+),([\w.-]+)\]", re.ASCII)
# What most lines have in common, so that they need not carry it. A part of the format: another text is another version.
_COMMON = (
    b'{"a":0,"alone":0,"c":["0:0.1:","1:0.1:","0:0:","1:1:"],"d":"","g":1,"p":"same ","s":[[["",[["",1]]]]],"st":""}'
)

AnyEnum = Callable[[str, str], object]
"""Finds a member of an Enum of the scenario: class name, member name. Raises LookupError when there is none."""


class CodecError(ValueError):
    """A line that cannot be read, or a value that cannot be written; the message says which and what to do."""


def no_enums(name: str, member: str) -> object:
    raise LookupError(f"{name}.{member}")


def encode(schedule: Schedule) -> str:
    """One line without spaces or quotes.

    Raises CodecError for an argument of a type that has no written form.
    """
    contest = schedule.contest
    members = {
        "a": int(schedule.aged),
        "alone": int(schedule.alone),
        "c": [_choice(choice) for choice in schedule.choices],
        "d": schedule.digest,
        "g": int(schedule.gates),
        "p": contest.pattern,
        "s": [[_call(call) for call in calls] for calls in contest.sessions],
        "st": contest.state,
    }
    if contest.prelude:
        members["b"] = [_call(call) for call in contest.prelude]
    if schedule.fault is not None:
        members["f"] = [schedule.fault.session, schedule.fault.command, schedule.fault.failing.value]
    text = json.dumps(members, separators=(",", ":")).encode()
    front = schedule.cell.id
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, 0, _COMMON + front.encode())
    packed = base64.urlsafe_b64encode(packer.compress(text) + packer.flush()).decode().rstrip("=")
    return f"h{VERSION}:{front}:{packed}"


def decode(line: str, enums: AnyEnum = no_enums) -> Schedule:
    """The schedule of a line; blanks and line breaks in it (a terminal wrapped it) and quotes around it do no harm.

    Raises CodecError.
    """
    front, packed = _split(line)
    try:
        members = json.loads(_unpack(front, packed))
        return Schedule(
            cell=_cell(front),
            contest=Contest(
                members["st"],
                tuple(tuple(_read_call(call, enums) for call in calls) for calls in members["s"]),
                members["p"],
                tuple(_read_call(call, enums) for call in members.get("b", ())),
            ),
            choices=tuple(_read_choice(choice) for choice in members["c"]),
            gates=Gates(members["g"]),
            aged=bool(members["a"]),
            digest=members["d"],
            alone=bool(members["alone"]),
            fault=_read_fault(members.get("f")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(
            f"this line unpacks to no schedule ({error}); run 'harness explore' again for one of this version"
        ) from error


def _read_fault(members: list[Any] | None) -> Fault | None:
    return None if members is None else Fault(int(members[0]), int(members[1]), Failing(members[2]))


def cell_of(line: str) -> Cell:
    """The cell alone, from the readable part: to find the scenario whose enums the rest may need."""
    return _cell(_split(line)[0])


# The line.


def _split(line: str) -> tuple[str, str]:
    text = "".join(line.split()).strip("'\"")
    match = _LINE.fullmatch(text)
    if match is None:
        raise CodecError(
            f"{_short(text)!r} is no schedule line: expected one that begins h{VERSION}:, as a finding prints it"
        )
    if int(match["version"]) != VERSION:
        age = "a newer" if int(match["version"]) > VERSION else "an older"
        raise CodecError(
            f"h{match['version']}: this line was written by {age} harness, this one reads h{VERSION}:; "
            "install that version, or run 'harness explore' again"
        )
    front, colon, packed = match["rest"].rpartition(":")
    # A line cut within its id has colons too: those of `purchases::Shipped`.
    if not colon or not _FRONT.fullmatch(front):
        raise CodecError(_damaged(text))
    return front, packed


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _damaged(text: str) -> str:
    return f"this line is cut short or altered ({len(text)} characters); copy it whole, up to the closing quote"


def _cell(front: str) -> Cell:
    match = _FRONT.fullmatch(front)
    assert match is not None
    scenario, strategy, layout, state, isolation, server = match.groups()
    try:
        return Cell(scenario, strategy, layout, state, Isolation(isolation), server)
    except ValueError:
        levels = ", ".join(Isolation)
        raise CodecError(f"{isolation!r} is no isolation level: expected one of {levels}") from None


def _unpack(front: str, packed: str) -> bytes:
    try:
        if not re.fullmatch(r"[\w-]*", packed, re.ASCII):
            raise CodecError(_damaged(f"{front}:{packed}"))
        data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        unpacker = zlib.decompressobj(zlib.MAX_WBITS, _COMMON + front.encode())
        text = unpacker.decompress(data) + unpacker.flush()
    except (binascii.Error, zlib.error) as error:
        raise CodecError(_damaged(f"{front}:{packed}")) from error
    if not unpacker.eof or unpacker.unused_data:
        raise CodecError(_damaged(f"{front}:{packed}"))
    return text


# Its parts.


def _choice(choice: Choice) -> str:
    parts = [str(choice.session), ".".join(map(str, choice.options)), choice.fingerprint]
    return ":".join(parts if choice.event == "run" else [*parts, choice.event])


def _read_choice(text: str) -> Choice:
    session, options, fingerprint, *event = text.split(":")
    return Choice(
        int(session),
        tuple(int(option) for option in options.split(".") if option),
        "".join(event) or "run",
        fingerprint,
    )


def _call(call: Call) -> list[Any]:
    return [call.operation, [[name, to_plain(value)] for name, value in call.arguments]]


def _read_call(plain: Any, enums: AnyEnum) -> Call:
    operation, arguments = plain
    return Call(operation, tuple((name, from_plain(value, enums)) for name, value in arguments))


# Values. What JSON has no word for is an object with one member: its type.


def to_plain(value: object) -> Any:
    """A value in JSON's words; `from_plain` gives an equal one of the same type."""
    match value:
        case Enum():  # first: it may be a str or an int as well
            return {"enum": [type(value).__name__, value.name]}
        case None | bool() | int() | str():
            return value
        case float():
            return {"float": repr(value)}
        case list():
            return [to_plain(part) for part in value]
        case tuple():
            return {"tuple": [to_plain(part) for part in value]}
        case dict():
            return {"dict": [[to_plain(key), to_plain(part)] for key, part in value.items()]}
        case bytes():
            return {"bytes": value.hex()}
        case Decimal() | UUID():
            return {type(value).__name__.lower(): str(value)}
        case datetime() | date() | time():  # a datetime is a date: the type's own name tells them apart
            return {type(value).__name__: value.isoformat()}
        case timedelta():
            return {"timedelta": [value.days, value.seconds, value.microseconds]}
    raise CodecError(
        f"argument {value!r} of type {type(value).__name__} has no written form: "
        "expected int, str, bool, None, float, Decimal, UUID, bytes, a date or time, an Enum, "
        "or a list, tuple or dict of these"
    )


_READ: dict[str, Callable[[Any], object]] = {
    "float": float,
    "bytes": bytes.fromhex,
    "decimal": Decimal,
    "uuid": UUID,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda parts: timedelta(*parts),
}


def from_plain(plain: Any, enums: AnyEnum = no_enums) -> object:
    if isinstance(plain, list):
        return [from_plain(part, enums) for part in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, content),) = plain.items()
    match kind:
        case "tuple":
            return tuple(from_plain(part, enums) for part in content)
        case "dict":
            return {from_plain(key, enums): from_plain(part, enums) for key, part in content}
        case "enum":
            return _member(content, enums)
        case _ if kind in _READ:
            return _READ[kind](content)
    raise CodecError(
        f"a value of the unknown type {kind!r}: this line was written by a newer harness; install that version"
    )


def _member(content: Any, enums: AnyEnum) -> object:
    name, member = content
    try:
        return enums(name, member)
    except LookupError:
        raise CodecError(
            f"the line uses {name}.{member}, which the scenario does not have; was it renamed since then?"
        ) from None

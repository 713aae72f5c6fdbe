"""As much of JSON Schema as our own schema uses; a word it does not know is an error: nothing goes unchecked."""

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_SAID = {"$schema", "$defs", "title", "description"}


def problems(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, at: str = "$") -> Iterator[str]:
    """What is wrong with the value, each with its place."""
    root = root or schema
    for word, content in schema.items():
        if word in _SAID:
            continue
        yield from _CHECKS[word](value, content, root, at)


def _type(value: Any, names: Any, root: Any, at: str) -> Iterator[str]:
    wanted = [names] if isinstance(names, str) else names
    fits = any(isinstance(value, _TYPES[name]) for name in wanted)
    if not fits or (isinstance(value, bool) and "boolean" not in wanted):
        yield f"{at}: {value!r} is no {' or '.join(wanted)}"


def _properties(value: Any, members: Any, root: Any, at: str) -> Iterator[str]:
    for name in members.keys() & value.keys() if isinstance(value, dict) else ():
        yield from problems(value[name], members[name], root, f"{at}.{name}")


def _required(value: Any, names: Any, root: Any, at: str) -> Iterator[str]:
    yield from (f"{at}: {name} is missing" for name in names if isinstance(value, dict) and name not in value)


def _items(value: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for number, item in enumerate(value if isinstance(value, list) else ()):
        yield from problems(item, schema, root, f"{at}[{number}]")


def _ref(value: Any, path: Any, root: Any, at: str) -> Iterator[str]:
    yield from problems(value, root["$defs"][path.removeprefix("#/$defs/")], root, at)


def _enum(value: Any, known: Any, root: Any, at: str) -> Iterator[str]:
    yield from [] if value in known else [f"{at}: {value!r} is none of {known}"]


def _const(value: Any, known: Any, root: Any, at: str) -> Iterator[str]:
    yield from [] if value == known else [f"{at}: {value!r} is not {known!r}"]


def _pattern(value: Any, pattern: Any, root: Any, at: str) -> Iterator[str]:
    yield from (
        [f"{at}: {value!r} is not like {pattern}"] if isinstance(value, str) and not re.search(pattern, value) else []
    )


def _minimum(value: Any, least: Any, root: Any, at: str) -> Iterator[str]:
    yield from [f"{at}: {value!r} is less than {least}"] if isinstance(value, int | float) and value < least else []


_CHECKS = {
    "type": _type,
    "properties": _properties,
    "required": _required,
    "items": _items,
    "$ref": _ref,
    "enum": _enum,
    "const": _const,
    "pattern": _pattern,
    "minimum": _minimum,
}

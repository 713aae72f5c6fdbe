"""SQL in the strings of programs: which texts are statements, in which function, and which variables grow."""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.doctor.sources.expressions import ADDING, Expressions, last_name, preorder, single
from harness.doctor.sources.found import Found, found_in
from harness.doctor.sources.languages import Language, parser_of
from harness.doctor.sources.text import Source, SourceWarning, Text, hole, join

if TYPE_CHECKING:
    from tree_sitter import Node

_WORTH_A_LOOK = re.compile(r"\b(insert|merge)\b", re.IGNORECASE)


def groups_in(source: Source, language: Language) -> Iterator[tuple[Found, ...]]:
    """The statements of a program: those of one function together, others alone."""
    if not _WORTH_A_LOOK.search(source.content):
        return
    root = parser_of(language).parse(source.content.encode()).root_node
    where = _first_error(root) if root.has_error else None
    if where is not None:
        warnings.warn(
            f"{source.file}:{where}: cannot be read as {language.name} here; statements nearby may be missed",
            SourceWarning,
            stacklevel=2,
        )
    try:
        found = _Program(source, language, root).statements()
    except RecursionError:
        warnings.warn(f"{source.file}: nested too deeply to be read", SourceWarning, stacklevel=2)
        return
    functions: dict[int, list[Found]] = {}
    for function, one in sorted(found, key=lambda pair: pair[1].offset):
        functions.setdefault(function if function >= 0 else -1 - one.offset, []).append(one)
    yield from map(tuple, functions.values())


def _first_error(root: "Node") -> int | None:
    """Its line. What TypeScript's grammar misses in `await sql<Row[]>`...` is no error: a `!`."""
    todo = [root]
    while todo:
        node = todo.pop()
        if node.is_error or (node.is_missing and node.type != "!"):
            return int(node.start_point[0]) + 1
        todo += [child for child in reversed(node.children) if child.has_error or child.is_missing]
    return None


@dataclass
class _Growing:
    """A variable that holds a text to which more may be added."""

    text: Text
    value: int  # the node it began with
    block: int
    function: int


class _Program:
    """One parsed file."""

    def __init__(self, source: Source, language: Language, root: "Node") -> None:
        self.source, self.language, self.root = source, language, root
        self.expressions = Expressions(source, language, root)
        self.reader = self.expressions.reader
        self.growing: dict[tuple[int, str], _Growing] = {}
        self.done: list[tuple[int, Found]] = []  # with the function, -1 for none

    def statements(self) -> list[tuple[int, Found]]:
        nodes = list(preorder(self.root))
        for node in nodes:
            if node.type in self.language.assignments:
                name, value = self._assignment(node)
                if name and value is not None:
                    self.expressions.assigned.setdefault(name, []).append(value)
            elif self._appended(node) is not None:
                self.expressions.assigned.setdefault(last_name(self.reader.written(node.children[0])), []).append(node)
        for node in nodes:
            self._visit(node)
        for variable in self.growing.values():
            if variable.value not in self.expressions.spliced:  # else it is only the beginning of another
                self._emit(variable.text, variable.function)
        return self.done

    def _visit(self, node: "Node") -> None:
        if node.type in self.language.assignments and self._appended(node) is None:
            name, value = self._assignment(node)
            text = None if value is None else self.expressions.text(value)
            if name and text is not None and value is not None:
                self.expressions.use(value)
                self._start(name, text, value, node)
            return
        if (more := self._added(node)) is not None:
            self._grow(*more, node)
        elif node.id not in self.expressions.used and self.expressions.is_text(node):
            text = self.expressions.text(node)
            if text is None:
                return
            self.expressions.use(node)
            if not _is_docstring(node):
                self._emit(text, self.expressions.function(node))

    def _emit(self, text: Text, function: int) -> None:
        self.done += [(function, found) for found in found_in(text, self.source)]

    # ---- variables that grow ----------------------------------------------------------------------------------------

    def _start(self, name: str, text: Text, value: "Node", node: "Node") -> None:
        function = self.expressions.function(node)
        earlier = self.growing.pop((function, name), None)
        if earlier is not None:
            self._emit(earlier.text, earlier.function)
        self.growing[function, name] = _Growing(text, value.id, _block(node), function)

    def _grow(self, name: str, added: "Sequence[Node]", node: "Node") -> None:
        variable = self.growing.get((self.expressions.function(node), name))
        if variable is None:
            return
        for value in added:
            text = self.expressions.text(value)
            # What is added only under a condition is known only to the running program.
            self.expressions.use(value)
            if text is None or _block(node) != variable.block:
                text = hole(self.reader.span(value)[0], f"{{{self.reader.written(value)}}}")
            variable.text = join([variable.text, text])

    def _added(self, node: "Node") -> "tuple[str, list[Node]] | None":
        """The variable and the values of `x += "more"` and of `x.append("more").append("and more")`."""
        value = self._appended(node)
        if value is not None:
            return last_name(self.reader.written(node.children[0])), [value]
        values: list[Node] = []
        at: Node | None = node
        while at is not None and at.type in self.language.calls and self.expressions.called(at) in ADDING:
            values[:0] = self.expressions.arguments(at)
            at = self.expressions.receiver(at)
        if not values or at is None or at.id in self.expressions.used or self.expressions.text(node) is not None:
            return None
        name = self.reader.written(at)
        inner = node.parent is not None and node.parent.type not in self.language.calls
        return (name, values) if inner and (self.expressions.function(node), name) in self.growing else None

    def _appended(self, node: "Node") -> "Node | None":
        operators = self.language.appends.get(node.type, ())
        if len(node.children) == 3 and node.children[1].type in operators:
            return single(node.children[2])
        return None

    def _assignment(self, node: "Node") -> "tuple[str, Node | None]":
        name = node.child_by_field_name("left") or node.child_by_field_name("name") or node.named_children[0]
        value = node.child_by_field_name("right") or node.child_by_field_name("value")
        value = value or node.child_by_field_name("default_value")
        if value is None and len(node.named_children) > 1:
            value = node.named_children[-1]
        return last_name(self.reader.written(name)), None if value is None else single(value)


def _is_docstring(node: "Node") -> bool:
    """A text that nothing is done with."""
    return node.parent is not None and node.parent.type == "expression_statement" and "string" in node.type


def _block(node: "Node") -> int:
    """Which block of statements it stands in."""
    at = node.parent
    while at is not None and not re.search(r"block|body|compound|program|module|source_file|statement_list", at.type):
        at = at.parent
    return -1 if at is None else int(at.start_byte)

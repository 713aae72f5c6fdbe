"""What an expression of a program is as a text, without running it: literals, and what is put together from them."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.doctor.sources.languages import Language
from harness.doctor.sources.literals import Reader
from harness.doctor.sources.text import Source, Text, hole, join, made, words

if TYPE_CHECKING:
    from tree_sitter import Node

_LAST_NAME = re.compile(r"(\w+)\W*$")
_TEXT_TAGS = re.compile(r"(^|\.)(dedent|outdent|raw|html|css|gql|graphql|markdown)$")  # these hand parts on as text
_FIELDS_OF_CALLEE = ("function", "method", "name", "constructor", "type")
_FIELDS_OF_RECEIVER = ("object", "receiver", "operand", "expression")

# What methods do to a text, by the name they go by, in whichever language.
_SAME = words("strip lstrip rstrip trim Trim trimStart trimEnd freeze squish strip_heredoc toString ToString")
_OF_ARGUMENT = words("SQL text dedent cleandoc TrimSpace trim literal_column StringBuilder StringBuffer")
_DEDENTING = frozenset(("dedent", "cleandoc", "strip_heredoc", "stripIndent", "trimIndent"))
ADDING = frozenset(("append", "concat", "Append", "AppendLine"))
_FORMATTING = frozenset(("format", "Format", "formatted", "sprintf", "Sprintf", "vsprintf"))
_BRACES = re.compile(r"\{(\w*)(?::[^{}]*)?\}")
_PERCENT = re.compile(r"%%|%(?:\d+\$|\[\d+\])?[-+#0]*\d*[A-Za-z](?!\w)")


class Expressions:
    """The expressions of one parsed file."""

    def __init__(self, source: Source, language: Language, root: "Node") -> None:
        self.language = language
        self.reader = Reader(source, language, root)
        self.assigned: dict[str, list[Node]] = {}  # name -> the values it is given anywhere
        self.used: set[int] = set()  # literals that are parts of a larger text
        self.spliced: set[int] = set()  # values of names that stand in other texts
        self._known: dict[int, Text | None] = {}  # node -> what it is as a text

    def is_text(self, node: "Node") -> bool:
        kinds = self.language
        return (
            node.type in kinds.strings
            or node.type in kinds.juxtaposed
            or node.type in kinds.operations
            or node.type in kinds.calls
        )

    def text(self, node: "Node") -> Text | None:
        """The text that an expression is for certain, with holes for what is not certain; None if it is no text."""
        if node.id not in self._known:
            self._known[node.id] = None  # for a constant defined by itself
            self._known[node.id] = self._evaluated(node)
        return self._known[node.id]

    def _evaluated(self, node: "Node") -> Text | None:
        kinds = self.language
        if node.type in kinds.strings:
            return self._literal(node)
        if node.type in kinds.juxtaposed:
            return self._joined(node, node.named_children)
        if node.type in kinds.operations:
            return self._operation(node)
        if node.type in kinds.calls:
            return self._call(node)
        if node.type in ("parenthesized_expression", "argument", "await_expression") and node.named_children:
            return self._part_of(node, node.named_children[-1])
        return None

    def _literal(self, node: "Node") -> Text:
        tagged = self._is_tagged(node)
        parts = []
        for piece in self.reader.pieces(node):
            if isinstance(piece, Text):
                parts.append(piece)
                continue
            offset, written, inner = piece
            known = self._constant(inner[0]) if len(inner) == 1 and not tagged else None
            calls = any(one.type in self.language.calls for one in inner)  # sql`...${sql(rows)}` builds, sends nothing
            parts.append(known or hole(offset, written, parameter=tagged and not calls))
        text = join(parts) if parts else made("", self.reader.span(node)[0])
        return text.dedented() if self.reader.is_block(node) else text

    def _is_tagged(self, node: "Node") -> bool:
        """sql`...${parameter}`; and sql<Row>`...`, which the grammar may take for two comparisons."""
        parent = node.parent
        if node.type != "template_string" or parent is None or parent.children[-1].id != node.id:
            return False
        if parent.type in self.language.calls or (len(parent.children) == 3 and parent.children[1].type == ">"):
            return not _TEXT_TAGS.search(self.reader.written(parent.children[0]).strip())
        return False

    def _joined(self, node: "Node", parts: "Sequence[Node]") -> Text:
        return join([self._part_of(node, part) or self._unknown(part) for part in parts])

    def _part_of(self, whole: "Node", part: "Node") -> Text | None:
        text = self.text(part) or self._constant(part)
        if text is not None:
            self.use(part)
        return text

    def use(self, node: "Node") -> None:
        self.used.update(one.id for one in preorder(node) if self.is_text(one))

    def _unknown(self, node: "Node") -> Text:
        return hole(self.reader.span(node)[0], f"{{{self.reader.written(node)}}}")

    def _operation(self, node: "Node") -> Text | None:
        if len(node.children) != 3:
            return None
        left, operator, _ = node.children
        if operator.type == "%":
            text = self._part_of(node, left) if self.text(left) else None
            return text.replaced(_PERCENT) if text else None
        if operator.type != self.language.plus:
            return None
        operands = self._operands(node)
        if all(self.text(one) is None for one in operands):
            return None
        return self._joined(node, operands)

    def _operands(self, node: "Node") -> "list[Node]":
        """Of a + b + c, which is (a + b) + c: long texts are many, and Python's stack is short."""
        found: list[Node] = []
        while node.type in self.language.operations and len(node.children) == 3:
            if node.children[1].type != self.language.plus:
                break
            self._known.setdefault(node.id, None)
            found.append(node.children[2])
            node = node.children[0]
        return [node, *reversed(found)]

    def _constant(self, node: "Node") -> Text | None:
        """What a name stands for, if it is given one value in the whole file, out of reach of other functions."""
        written = self.reader.written(node)
        values = self.assigned.get(last_name(written), ()) if re.fullmatch(r"[$@]?\w+([.:>-]+\w+)*", written) else ()
        if len(values) != 1 or values[0].start_byte > node.start_byte:
            return None
        home = self.function(values[0])
        if home not in (-1, self.function(node)) or self._is_parameter(node, last_name(written)):
            return None
        self.spliced.add(values[0].id)
        return self.text(values[0])

    def _is_parameter(self, node: "Node", name: str) -> bool:
        at = node.parent
        while at is not None:
            if at.type in self.language.functions | self.language.closures:
                parameters = at.child_by_field_name("parameters")
                if parameters is not None and re.search(rf"\b{name}\b", self.reader.written(parameters)):
                    return True
            at = at.parent
        return False

    # ---- calls -------------------------------------------------------------------------------------------------------

    def _call(self, node: "Node") -> Text | None:
        name, arguments = self.called(node), self.arguments(node)
        receiver = self.receiver(node)
        of = None if receiver is None else self.text(receiver)
        if of is not None and receiver is not None:
            return self._method(node, name, receiver, of, arguments)
        if name in _OF_ARGUMENT | _FORMATTING and arguments:
            text = self._part_of(node, arguments[0])
            if text is None:
                return None
            if name in _FORMATTING:
                return _formatted(text)
            return text.dedented() if name in _DEDENTING else text
        if name in ("StringBuilder", "StringBuffer") and not arguments:
            return made("", self.reader.span(node)[0])
        return None

    def _method(self, node: "Node", name: str, receiver: "Node", of: Text, arguments: "Sequence[Node]") -> Text | None:
        if name in _SAME | _DEDENTING:
            self.use(receiver)
            return of.dedented() if name in _DEDENTING else of
        if name in ADDING:
            end = made("\n", self.reader.span(node)[0]) if name == "AppendLine" else made("", 0)
            return join([self._joined(node, (receiver, *arguments)), end])
        if name == "join" and len(arguments) == 1:
            return self._list(node, of, arguments[0])
        if name in _FORMATTING:
            self.use(receiver)
            return self._filled(of, arguments) if self.language.percent else _formatted(of)
        return None

    def _list(self, node: "Node", separator: Text, listed: "Node") -> Text | None:
        """`", ".join(["a", "b"])`"""
        if listed.type not in ("list", "tuple"):
            return None
        parts: list[Text] = []
        for element in listed.named_children:
            parts += [separator] if parts else []
            parts.append(self._composed(element))
        self.use(node)
        return join(parts)

    def _filled(self, of: Text, arguments: "Sequence[Node]") -> Text:
        """`"INSERT INTO {} ...".format(...)`, of plain strings and of psycopg.sql."""
        named = {self.reader.written(a.children[0]): a.children[-1] for a in arguments if a.type == "keyword_argument"}
        positional = [argument for argument in arguments if argument.type != "keyword_argument"]
        parts, end, count = [], 0, 0
        for match in _BRACES.finditer(of.chars):
            key = match[1] or str(count)
            count += not match[1]
            value = named.get(key) or (positional[int(key)] if key.isdigit() and int(key) < len(positional) else None)
            parts.append(of[end : match.start()])
            parts.append(
                hole(of.offsets[match.start()], match[0]) if value is None else self._composed(value, match[0])
            )
            end = match.end()
        return join([*parts, of[end : len(of.chars)]])

    def _composed(self, node: "Node", written: str | None = None) -> Text:
        """What psycopg.sql makes of an argument: Identifier("a", "b"), Placeholder("name"), or any text."""
        offset = self.reader.span(node)[0]
        unknown = hole(offset, written or f"{{{self.reader.written(node)}}}")
        name = self.called(node) if node.type in self.language.calls else ""
        arguments = [self._part_of(node, argument) for argument in self.arguments(node)] if name else []
        if name == "Identifier" and arguments and all(a is not None and not a.holes for a in arguments):
            quoted = ('"' + a.chars.replace('"', '""') + '"' for a in arguments if a is not None)
            return made(".".join(quoted), offset)
        if name == "Placeholder":
            return made(f"%({arguments[0].chars})s" if arguments and arguments[0] is not None else "%s", offset)
        return self._part_of(node, node) or unknown

    def called(self, node: "Node") -> str:
        for field in _FIELDS_OF_CALLEE:
            callee = node.child_by_field_name(field)
            if callee is not None:
                return last_name(self.reader.written(callee))
        return ""

    def receiver(self, node: "Node") -> "Node | None":
        callee = node.child_by_field_name("function")
        for owner in (node, callee):
            for field in _FIELDS_OF_RECEIVER if owner is not None else ():
                found = owner.child_by_field_name(field) if owner is not None else None
                if found is not None:
                    return found
        return None

    def arguments(self, node: "Node") -> "list[Node]":
        arguments = node.child_by_field_name("arguments")
        if arguments is None or arguments.type in self.language.strings:
            return []
        return [single(one) for one in arguments.named_children if "comment" not in one.type]

    # ---- functions ---------------------------------------------------------------------------------------------------

    def function(self, node: "Node") -> int:
        """Where its function starts: the nearest that has a name, else the outermost; -1 for none."""
        outermost = -1
        at = node.parent
        while at is not None:
            if at.type in self.language.functions:
                return int(at.start_byte)
            if at.type in self.language.closures:
                if at.parent is not None and at.parent.type in self.language.assignments:
                    return int(at.start_byte)
                outermost = int(at.start_byte)
            at = at.parent
        return outermost


def _formatted(text: Text) -> Text:
    """What sprintf and its kin fill in, `%s` or `{0}`, is known to the running program only."""
    return text.replaced(_PERCENT if _PERCENT.search(text.chars) else _BRACES)


def preorder(root: "Node") -> Iterator["Node"]:
    todo = [root]
    while todo:
        node = todo.pop()
        yield node
        todo += reversed(node.children)


def single(node: "Node") -> "Node":
    """The one expression of a list of them, or of an argument: Go and PHP wrap where others do not."""
    while node.type in ("expression_list", "argument") and len(node.named_children) == 1:
        node = node.named_children[0]
    return node


def last_name(written: str) -> str:
    """`self.query` -> `query`, `sql<Row>` -> `sql`."""
    match = _LAST_NAME.search(re.sub(r"<.*>", "", written, flags=re.DOTALL))
    return match[1] if match else ""

"""What programming languages call their strings, in tree-sitter's words: one row of a table for each.

Everything that differs between them is here; `code.py` knows none of them by name.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from harness.doctor.sources.text import SourceError

if TYPE_CHECKING:
    from tree_sitter import Parser


class Escapes(Enum):
    """How backslashes are read."""

    ALL = "all"  # \n, \t, \x41, \u0041; any other escaped character is itself
    KNOWN = "known"  # the same; before any other character the backslash stays
    QUOTES = "quotes"  # \\ and \' only
    DOUBLED = "doubled"  # none; "" is one quote
    NONE = "none"


@dataclass(frozen=True, slots=True, eq=False)  # each is itself
class Language:
    """Node types of a grammar, by what they mean to us."""

    name: str
    package: str  # the grammar's
    strings: frozenset[str]
    escapes: tuple[tuple[str, Escapes], ...]  # by how the literal begins: the first pattern that matches
    functions: frozenset[str]  # with a name of their own
    closures: frozenset[str] = frozenset()
    entry: str = "language"
    juxtaposed: frozenset[str] = frozenset()  # "a" "b"
    operations: frozenset[str] = frozenset(("binary_expression",))
    plus: str = "+"
    appends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # node type: operators; x += "more"
    calls: frozenset[str] = frozenset()
    assignments: frozenset[str] = frozenset()
    braces: str | None = None  # where a literal begins so, {{ is one brace
    blocks: str | None = None  # where a literal begins so, its margin is no part of it
    percent: bool = False  # %s is a placeholder of drivers here; elsewhere it is for sprintf


_DOUBLE_QUOTED = (("", Escapes.ALL),)
_SCRIPT = {
    "package": "tree_sitter_typescript",
    "strings": frozenset(("string", "template_string")),
    "escapes": _DOUBLE_QUOTED,
    "functions": frozenset(("function_declaration", "generator_function_declaration", "method_definition")),
    "closures": frozenset(("arrow_function", "function_expression")),
    "appends": {"augmented_assignment_expression": ("+=",)},
    "calls": frozenset(("call_expression", "new_expression")),
    "assignments": frozenset(("variable_declarator", "assignment_expression")),
}

PYTHON = Language(
    "Python",
    "tree_sitter_python",
    strings=frozenset(("string",)),
    escapes=(("(?i)[bf]*r", Escapes.NONE), ("", Escapes.KNOWN)),
    functions=frozenset(("function_definition",)),
    closures=frozenset(("lambda",)),
    juxtaposed=frozenset(("concatenated_string",)),
    operations=frozenset(("binary_operator",)),
    appends={"augmented_assignment": ("+=",)},
    calls=frozenset(("call",)),
    assignments=frozenset(("assignment",)),
    braces="(?i)r?f",
    percent=True,
)
TYPESCRIPT = Language("TypeScript", entry="language_typescript", **_SCRIPT)  # type: ignore[arg-type]
JAVASCRIPT = Language("JavaScript", entry="language_tsx", **_SCRIPT)  # type: ignore[arg-type]  # a superset of it
GO = Language(
    "Go",
    "tree_sitter_go",
    strings=frozenset(("raw_string_literal", "interpreted_string_literal")),
    escapes=(("`", Escapes.NONE), ("", Escapes.ALL)),
    functions=frozenset(("function_declaration", "method_declaration")),
    closures=frozenset(("func_literal",)),
    appends={"assignment_statement": ("+=",)},
    calls=frozenset(("call_expression",)),
    assignments=frozenset(("short_var_declaration", "var_spec", "const_spec", "assignment_statement")),
)
PHP = Language(
    "PHP",
    "tree_sitter_php",
    entry="language_php",
    strings=frozenset(("encapsed_string", "string", "heredoc", "nowdoc")),
    escapes=((r"<<<\s*'", Escapes.NONE), ("[bB]?'", Escapes.QUOTES), ("", Escapes.KNOWN)),
    functions=frozenset(("function_definition", "method_declaration")),
    closures=frozenset(("anonymous_function", "anonymous_function_creation_expression", "arrow_function")),
    plus=".",
    appends={"augmented_assignment_expression": (".=",)},
    calls=frozenset(("function_call_expression", "member_call_expression", "scoped_call_expression")),
    assignments=frozenset(("assignment_expression", "const_element", "property_element")),
    blocks="<<<",
)
RUBY = Language(
    "Ruby",
    "tree_sitter_ruby",
    strings=frozenset(("string", "heredoc_body")),
    escapes=(("<<[~-]?'", Escapes.NONE), ("'|%q", Escapes.QUOTES), ("", Escapes.ALL)),
    functions=frozenset(("method", "singleton_method")),
    closures=frozenset(("block", "do_block", "lambda")),
    juxtaposed=frozenset(("chained_string",)),
    operations=frozenset(("binary",)),
    appends={"operator_assignment": ("+=",), "binary": ("<<",)},
    calls=frozenset(("call",)),
    assignments=frozenset(("assignment",)),
    blocks="<<~",
)
JAVA = Language(
    "Java",
    "tree_sitter_java",
    strings=frozenset(("string_literal",)),
    escapes=_DOUBLE_QUOTED,
    functions=frozenset(("method_declaration", "constructor_declaration")),
    closures=frozenset(("lambda_expression",)),
    appends={"assignment_expression": ("+=",)},
    calls=frozenset(("method_invocation", "object_creation_expression")),
    assignments=frozenset(("variable_declarator", "assignment_expression")),
    blocks='"""',
)
CSHARP = Language(
    "C#",
    "tree_sitter_c_sharp",
    strings=frozenset(
        ("string_literal", "verbatim_string_literal", "raw_string_literal", "interpolated_string_expression")
    ),
    escapes=(('[$]*"""', Escapes.NONE), ('[$]?@|@[$]"', Escapes.DOUBLED), ("", Escapes.ALL)),
    functions=frozenset(("method_declaration", "constructor_declaration", "local_function_statement")),
    closures=frozenset(("lambda_expression", "anonymous_method_expression")),
    appends={"assignment_expression": ("+=",)},
    calls=frozenset(("invocation_expression", "object_creation_expression")),
    assignments=frozenset(("variable_declarator", "assignment_expression")),
    braces=r'(?!\$+""")[$@]*[$]',
    blocks='[$]*"""',
)

BY_SUFFIX: Mapping[str, Language] = {
    ".py": PYTHON,
    **dict.fromkeys((".ts", ".mts", ".cts"), TYPESCRIPT),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs", ".tsx"), JAVASCRIPT),
    ".go": GO,
    ".php": PHP,
    **dict.fromkeys((".rb", ".rake"), RUBY),
    ".java": JAVA,
    ".cs": CSHARP,
}


@lru_cache
def parser_of(language: Language) -> "Parser":
    """Raises SourceError where the grammars are not installed."""
    try:
        from tree_sitter import Language as Grammar
        from tree_sitter import Parser

        grammar = getattr(importlib.import_module(language.package), language.entry)
    except ImportError as error:
        raise SourceError(
            f"reading {language.name} takes a grammar that is not installed ({error.name}): "
            "pip install 'upsert-harness[doctor]', or give the statements as SQL"
        ) from None
    return Parser(Grammar(grammar()))

"""SQL that older servers do not have: what it is called, and the major version that it came with.

From the release notes (appendix E) of PostgreSQL 14 to 18. Only what stands in statements and definitions of upserts
and of the tables around them; told by words, so that the reason is known where the server says "syntax error".
"""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.scenario.lexer import significant


@dataclass(frozen=True, slots=True)
class Feature:
    name: str
    major: int  # the first version that has it
    words: tuple[str, ...]  # in a row, in lower case
    within: str = ""  # the first word of the statement, where it must be that


FEATURES = (
    Feature("multirange types", 14, ("int4multirange",)),
    Feature("MERGE", 15, ("merge", "into")),
    Feature("UNIQUE NULLS NOT DISTINCT", 15, ("nulls", "not", "distinct")),
    Feature("MERGE ... WHEN NOT MATCHED BY SOURCE", 17, ("matched", "by", "source")),
    Feature("MERGE ... RETURNING", 17, ("returning",), within="merge"),
    Feature("merge_action()", 17, ("merge_action", "(")),
    Feature("JSON_TABLE", 17, ("json_table", "(")),
    Feature("RETURNING OLD and NEW", 18, ("returning", "old")),
    Feature("RETURNING OLD and NEW", 18, ("returning", "new")),
    Feature("uuidv7()", 18, ("uuidv7", "(")),
    Feature("WITHOUT OVERLAPS", 18, ("without", "overlaps")),
    Feature("virtual generated columns", 18, ("virtual",)),
)


def lacking(sql: str, major: int) -> Iterator[Feature]:
    """What of the text a server of this major version does not have, the newest first."""
    words = [token.text.lower() for token in significant(sql)]
    for feature in sorted(FEATURES, key=lambda one: -one.major):
        if feature.major > major and (not feature.within or words[:1] == [feature.within]):
            size = len(feature.words)
            if any(tuple(words[at : at + size]) == feature.words for at in range(len(words) - size + 1)):
                yield feature

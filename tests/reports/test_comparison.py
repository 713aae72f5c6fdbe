"""A comparison as people and programs read it: 100 columns, words for what colours say, a schema that holds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.recommend import advise
from harness.model.cell import Cell, Isolation
from harness.model.comparison import Comparison, Group, Hammered, Judged, OnServer
from harness.model.cost import COUNTERS, Block, Contestant, Measured, Mix, bucket, card
from harness.model.verdict import Rate, Verdict
from harness.reports.comparison import advice_lines, comparison_text, sheets
from harness.reports.comparison_files import comparison_json, comparison_markdown
from tests.reports.schema import problems

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "compare.schema.json").read_text())
RC, RR, SERIALIZABLE = Isolation
LONG = "on_conflict_then_look_in_one_transaction"
MIXES = tuple(Mix)
SERVERS = ("pg16", "pg18")

VERDICTS = {  # strategy -> layout -> verdict in each state, by level
    "upsert": {"full": {RC: "ss", RR: "rr"}, "none": {RC: "xx", RR: "xx"}},
    LONG: {"full": {RC: "sx", RR: "ss"}, "none": {RC: "xs", RR: "uu"}},
    "careful": {"full": {RC: "su", RR: "ss"}},
}
WORDS = {"s": Verdict.SAFE, "r": Verdict.RETRY, "u": Verdict.UNKNOWN, "x": Verdict.UNSAFE}
TIMES = {"upsert": 2.0, LONG: 1.0, "careful": 1.5}


def block(seconds: float) -> Block:
    return Block(100, 100, {}, {"23505": 3}, 300, seconds, {bucket(10**6): 99, bucket(10**8): 1}, 0.1, 4,
                 dict.fromkeys(COUNTERS, 12345))  # fmt: skip


def made(rounds: int = 6) -> Comparison:
    judged = tuple(
        Judged(Cell("items", strategy, layout, state, level, server), WORDS[word], "why not" if word == "u" else "",
               ("23505", "duplicate") if word == "x" else (), True, True, 20, "h1:..." if word == "x" else None)
        for server in SERVERS
        for strategy, layouts in VERDICTS.items()
        for layout, levels in layouts.items()
        for level, words in levels.items()
        for state, word in zip(("new", "owned"), words, strict=True)
    )  # fmt: skip
    contestants = tuple(Contestant(name, layout, RC) for name, layouts in VERDICTS.items() for layout in layouts)
    group = Group("put", contestants, contestants[0])
    measured = [
        Measured(server, number, who, mix, block(TIMES[who.strategy] * (1 + number / 10)))
        for server in SERVERS
        for number in range(rounds)
        for who in contestants
        if who.layout == "full"
        for mix in MIXES
    ]
    cards = [
        card([m for m in measured if m.server == server], who, group.reference, MIXES)
        for server in SERVERS
        for who in contestants
        if who.layout == "full"
    ]
    failing = replace(card([], contestants[1], group.reference, MIXES), server="pg18", failing="42P10 on every call")
    advice = advise(group, RC, judged, [one.cell for one in judged], measured, MIXES)
    return Comparison(
        "items", tuple(OnServer(name, f"{name[2:]}.1", "embedded", "off", "default") for name in SERVERS), judged,
        (group,), (*cards, failing), (advice,), MIXES, 4, 30, 7, 12.3,
        {judged[0].cell.id: Hammered(Rate(0, 1000))}, ("3 of 9 cells were not explored before the budget was spent",),
    )  # fmt: skip


def text(comparison: Comparison) -> str:
    return comparison_text(comparison).plain


def test_every_line_fits_into_100_columns() -> None:
    assert max(map(len, text(made()).splitlines())) <= 100


def test_states_share_a_line_where_their_words_are_equal() -> None:
    lines = text(made()).splitlines()
    upsert = lines[lines.index("upsert") + 1 :]
    assert upsert[0].split()[:4] == ["full", "every", "state", "safe"]
    long = lines[lines.index(LONG) + 1 :]
    assert long[0].split()[:3] == ["full", "new", "safe"]
    assert long[1].split()[:2] == ["owned", "UNSAFE"]


def test_what_is_unsafe_is_said_in_capitals_and_why_below() -> None:
    found = text(made())
    assert "UNSAFE" in found
    assert "found: 23505 unique_violation, duplicate" in found
    assert "unknown: why not" in found
    assert "no cost on none: 42P10 on every call" in found


def test_servers_that_differ_are_named() -> None:
    comparison = made()
    other = [
        replace(one, verdict=Verdict.UNSAFE) if one.cell.server == "pg16" and one.cell.strategy == "careful" else one
        for one in comparison.judged
    ]
    words = {cell for row in sheets(replace(comparison, judged=tuple(other)))[0].sections[2].rows for cell in row}
    assert "pg16 UNSAFE, pg18 safe" in words


def test_a_ratio_has_its_interval_from_six_rounds_on() -> None:
    assert "0.50 0.50-0.50" in text(made())
    assert "0.50 0.50-0.50" not in text(made(rounds=5))


def test_the_recommendation_is_whole_sentences() -> None:
    assert advice_lines(made()) == [
        "For put at read committed: take upsert, with the layout full: the cheapest that is safe in every state.",
        "It costs 2.00 (2.00 to 2.00) times the time and 1.00 times the WAL on pg16; 2.00 (2.00 to 2.00) times the "
        f"time and 1.00 times the WAL on pg18 of {LONG} on full, the fastest that is unsafe "
        "(23505 unique_violation, duplicate).",
        "Not recommended because unknown: careful on full.",
    ]


def test_where_nothing_is_safe_nothing_is_recommended() -> None:
    comparison = made()
    (advice,) = comparison.advice
    none = replace(advice, best=None, verdict=None, unsafe=None, against_unsafe=())
    (line,) = advice_lines(replace(comparison, advice=(none,)))
    assert "nothing is recommended; no strategy is safe in every state" in line
    assert "take" not in line


@pytest.mark.parametrize("rounds", [6, 3])
def test_json_is_as_its_schema_says(rounds: int) -> None:
    plain = json.loads(comparison_json(made(rounds)))
    assert list(problems(plain, SCHEMA)) == []
    assert set(SCHEMA["properties"]) == set(plain)
    assert set(SCHEMA["$defs"]["cell"]["properties"]) == set(plain["cells"][0])


def test_the_schema_would_notice() -> None:
    plain = json.loads(comparison_json(made()))
    plain["cells"][0]["verdict"] = "fine"
    plain["cards"][0]["overall"]["figures"]["time_us"]["median"] = None
    assert len(list(problems(plain, SCHEMA))) == 2


def test_markdown_has_rows_as_wide_as_their_table() -> None:
    page = comparison_markdown(made())
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 5  # the matrix; costs, and time by mix, on each server
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    assert "**UNSAFE**" in page
    assert "- For put at read committed: take upsert" in page

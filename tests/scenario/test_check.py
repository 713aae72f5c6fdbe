"""Every mistake a scenario file can hold is told before a server starts: with its line, and the likely slip."""

from pathlib import Path

import pytest

from harness.scenario.check import check
from harness.scenario.discovery import load, load_folder, shipped
from harness.scenario.errors import ScenarioError

RIGHT = """\
from enum import Enum
from hypothesis import strategies as st
from harness import Column, Connection, Identity, Key, Own, Pool, Scenario, unsafe
shop = Scenario(
    "shop",
    tables="CREATE TABLE purchase (student int, course int, amount int, kind mood)",
    layouts={"partial": "CREATE UNIQUE INDEX ON purchase (student) WHERE amount > 0"},
    states={"new": "", "owned": "INSERT INTO purchase VALUES (%(student)s, 1, 1)"},
    identity=Identity("purchase", by="student"),
)
@shop.operation(student=Key(int), amount=Own(st.integers()))
def buy(connection: Connection, student: int, amount: int) -> bool:
    return True
@shop.operation(student=Key(int))
def refund(connection: Connection, student: int) -> bool:
    return True
@buy.strategy(expect=[unsafe("duplicate", layout="none")])
def plain(connection: Connection, student: int, amount: int) -> bool:
    return True
@shop.strategy
class Remembers:
    def buy(self, pool: Pool, student: int, amount: int) -> bool:
        return True
"""


def broken(tmp_path: Path, old: str, new: str) -> str:
    """The message for the scenario above with one thing changed."""
    assert RIGHT.count(old) >= 1
    path = tmp_path / "shop.py"
    path.write_text(RIGHT.replace(old, new, 1))
    with pytest.raises(ScenarioError) as caught:
        for scenario in load(path):
            check(scenario)
    return str(caught.value).replace(f"{path}:", "")


def test_a_right_scenario_has_no_mistakes(tmp_path):
    path = tmp_path / "shop.py"
    path.write_text(RIGHT)
    (scenario,) = load(path)
    assert check(scenario) is None


def test_the_shipped_scenarios_have_no_mistakes():
    for scenario in load_folder(shipped()):
        check(scenario)


DECLARE = 'Key(type), Own(generator), Column("table.column"), a Hypothesis generator, an Enum or a list of values'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # scenario
        ('"shop"', '"my shop"', "4: scenario 'my shop': names are made of letters, digits and _"),
        (
            '"partial":',
            '"owned":',
            "4: 'owned' is both a layout and a state: shop[owned] could mean either; rename one",
        ),
        ('"partial":', '"none":', "4: layout 'none' is the bare tables: give this one another name"),
        (
            'Identity("purchase"',
            'Identity("purchases"',
            "4: identity names table 'purchases' (did you mean 'purchase'?); tables are: purchase",
        ),
        (
            'Identity("purchase", by="student")',
            '["purchase (student)"]',
            '4: identity \'purchase (student)\': expected Identity("table", by=["column"])',
        ),
        (
            'by="student"',
            'by="studnt"',
            "4: identity of purchase names column 'studnt' (did you mean 'student'?), which no table has",
        ),
        (
            "%(student)s",
            "%(studnt)s",
            "4: state 'owned' uses %(studnt)s, which is no key (did you mean 'student'?); keys are: student",
        ),
        ("%(student)s", "%(amount)s", "4: state 'owned' uses %(amount)s, which is no key; keys are: student"),
        # operations
        ("amount=Own(st.integers())", "amount=3", f"11: parameter amount=3: expected {DECLARE}"),
        ("amount=Own(st.integers())", "amount=[]", f"11: parameter amount=[]: expected {DECLARE}"),
        (
            ", amount=Own(st.integers()))\ndef buy(connection: Connection, student: int, amount: int)",
            ")\ndef buy(connection: Connection, student: int, total: int)",
            f"11: operation buy does not say what its parameter 'total' means: declare total= as {DECLARE}",
        ),
        (
            "amount=Own(st.integers())",
            "amont=Own(st.integers())",
            "11: operation buy does not say what its parameter 'amount' means (did you mean 'amont'?): "
            f"declare amount= as {DECLARE}",
        ),
        (
            "amount=Own(st.integers())",
            "amount=Column('purchase.amont')",
            "11: Column('purchase.amont'): no such column (did you mean 'amount'?); columns are: purchase.student, ",
        ),
        (
            "amount=Own(st.integers())",
            "amount=Column('purchase.kind')",
            "11: column purchase.kind: no values are known of type 'mood'; declare Key(type)",
        ),
        (
            "Key(int))\ndef refund",
            "Key(int), course=Key(int))\ndef refund",
            "14: operation refund declares course=, which its function does not take; it takes: student",
        ),
        (
            "Key(int))\ndef refund",
            "Key(int), refusals='nope')\ndef refund",
            "14: operation refund: refusals='nope': expected an exception class or a SQLSTATE",
        ),
        (
            "Key(int))\ndef refund",
            "Key(str))\ndef refund",
            "14: key 'student' has other values in refund than in buy; name one of them differently with Key(..., name",
        ),
        (
            "student=Key(int), amount",
            "student=Key(bytes), amount",
            "11: operation buy, student=Key(...): no values known of bytes: list them, as in Key(['a', 'b'])",
        ),
        ("def refund", "async def refund", "14: operation refund is async or a generator: expected a plain function"),
        # strategies
        (
            "def plain(connection: Connection, student: int",
            "def plain(connection: Connection, studnt: int",
            "17: strategy plain takes (studnt, amount), but operation buy has (student, amount) (did you mean 'student",
        ),
        (
            "def plain(connection: Connection, student: int, amount: int",
            "def plain(connection: Connection, student: int",
            "17: strategy plain takes (student), but operation buy has (student, amount)",
        ),
        (
            "def buy(self, pool: Pool, student: int, amount: int)",
            "def buy(self, pool: Pool, student: int, amount: int, course: int)",
            "22: strategy Remembers takes (student, amount, course), but operation buy has (student, amount)",
        ),
        (
            "def buy(self",
            "def by(self",
            "20: strategy Remembers has no method of any operation (did you mean 'buy'?); operations are: buy, refund",
        ),
        (
            "class Remembers:\n",
            "class Remembers:\n    def refnd(self): pass\n",
            "20: strategy Remembers: refnd is no operation (did you mean 'refund'?); operations are: buy, refund; "
            "the name of a helper starts with _",
        ),
        (
            "class Remembers:\n",
            "class Remembers:\n    def __init__(self, answer): pass\n",
            "20: strategy Remembers cannot be made without answer: an object of it is made anew for every trial",
        ),
        (
            "@shop.strategy",
            "@shop.strategy(processes='all')",
            "20: strategy Remembers: processes='all': expected 'one' or",
        ),
        (
            "@shop.strategy",
            "@shop.strategy(retryable=['serialization'])",
            "20: strategy Remembers: retryable='serialization': expected a SQLSTATE such as '40001'",
        ),
        # expectations
        (
            'layout="none"',
            'layout="partail"',
            "17: strategy plain expects unsafe('duplicate', layout='partail'): unknown layout 'partail' "
            "(did you mean 'partial'?); known are: partial, none",
        ),
        (
            'layout="none"',
            'state="ownd"',
            "17: strategy plain expects unsafe('duplicate', state='ownd'): unknown state 'ownd' (did you mean 'owned'?)"
            "; known are: new, owned",
        ),
        (
            'layout="none"',
            'isolation="snapshot"',
            "17: strategy plain expects unsafe('duplicate', isolation='snapshot'): unknown isolation 'snapshot'; "
            "known are: read_committed, repeatable_read, serializable",
        ),
        (
            '"duplicate"',
            '"duplicates"',
            "17: strategy plain expects unsafe('duplicates', layout='none'): unknown kind 'duplicates' "
            "(did you mean 'duplicate'?); known are: wrong-alone,",
        ),
        (
            '"duplicate", ',
            "",
            "17: strategy plain expects unsafe(layout='none'): name the kinds, as in unsafe('duplicate')",
        ),
        (
            'layout="none")]',
            'isolation="read_committed")], isolation="serializable"',
            "17: strategy plain expects unsafe('duplicate', isolation='read_committed'), but runs at serializable only",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_likely_slip(tmp_path, old, new, message):
    said = broken(tmp_path, old, new)
    assert said.startswith(message), said


def test_a_second_operation_of_one_name_is_refused_with_both_places(tmp_path):
    assert broken(tmp_path, "def refund", "def buy") == "14: operation buy is there already, at 11"


def test_a_second_strategy_of_one_name_is_refused_with_both_places(tmp_path):
    assert (
        broken(tmp_path, "class Remembers", "class plain") == "20: a second strategy called 'plain'; the first is at 17"
    )


def test_a_placeholder_that_stands_for_nothing_is_told(tmp_path):
    numbered = 'shop.sql_strategy("pasted", buy="INSERT INTO purchase VALUES ($1, $3)")\n@shop.strategy\nclass Rem'
    said = broken(tmp_path, "@shop.strategy\nclass Rem", numbered)
    assert said == "20: strategy pasted, buy: $3 stands for no parameter; $1 to $2 are: student, amount"
    said = broken(tmp_path, "@shop.strategy\nclass Rem", numbered.replace("$3", ":amont"))
    assert (
        said == "20: strategy pasted, buy: :amont is no parameter (did you mean 'amount'?); they are: student, amount"
    )


def test_a_scenario_needs_operations_and_strategies(tmp_path):
    path = tmp_path / "shop.py"
    for keep, message in [
        (10, "scenario shop has no operations: add @shop.operation(...)"),
        (16, "scenario shop has no strategies: add @buy.strategy"),
    ]:
        path.write_text("".join(RIGHT.splitlines(keepends=True)[:keep]))
        (scenario,) = load(path)
        with pytest.raises(ScenarioError) as caught:
            check(scenario)
        assert str(caught.value) == f"{path}:4: {message}"


def test_a_state_calls_operations_that_exist(tmp_path):
    call = '\nfrom harness.model.contest import Call\nshop.state("bought", Call("{}", {}))\n'
    for name, arguments, message in [
        ("by", "()", "state 'bought' calls by (did you mean 'buy'?); operations are: buy, refund"),
        (
            "buy",
            "(('amont', 1),)",
            "state 'bought' calls buy(amont=...) (did you mean 'amount'?); parameters are: student,",
        ),
    ]:
        path = tmp_path / "shop.py"
        path.write_text(RIGHT + call.format(name, arguments))
        (scenario,) = load(path)
        with pytest.raises(ScenarioError) as caught:
            check(scenario)
        assert message in str(caught.value)

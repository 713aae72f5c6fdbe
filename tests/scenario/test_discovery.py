"""Scenario files are found by path and by name; what is wrong with a file is told with its line."""

import sys
from pathlib import Path

import pytest

from harness.scenario.discovery import digest, find, load, load_folder
from harness.scenario.errors import ScenarioError

FILE = '''"""What is at stake."""
from harness import Connection, Key, Scenario
{name} = Scenario("{name}", tables="CREATE TABLE t (k int)", layouts={{"unique": "CREATE UNIQUE INDEX ON t (k)"}})
@{name}.operation(k=Key(int))
def put(connection: Connection, k: int) -> bool:
    return True
'''


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current directory, and a module search path that is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def check(source: object, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        find(source)
    assert str(caught.value) == message


def names(scenarios: list) -> list[str]:
    return [scenario.name for scenario in scenarios]


def test_local_scenarios_come_before_shipped_ones(here):
    assert "purchases" in names(find())
    write(here / "scenarios" / "carts.py", FILE.format(name="carts"))
    assert names(find()) == ["carts"]
    assert names(find("carts")) == ["carts"]
    assert names(find("purchases")) == ["purchases"]  # the shipped ones stay within reach by name


def test_a_path_is_a_file_or_a_folder(here):
    path = write(here / "mine" / "carts.py", FILE.format(name="carts"))
    write(here / "mine" / "helpers.py", "")
    assert names(find(str(path))) == names(find(path)) == names(find("mine")) == ["carts"]
    assert find(path)[0].doc == "What is at stake."
    assert find(path)[0].path == str(path)


def test_an_unknown_name_is_guessed_and_the_known_ones_are_listed(here):
    write(here / "scenarios" / "carts.py", FILE.format(name="carts"))
    with pytest.raises(
        ScenarioError, match=r"no scenario is called 'cart' \(did you mean 'carts'\?\); known are: carts, .*"
    ):
        find("cart")


def test_a_missing_file_is_guessed_from_those_beside_it(here):
    write(here / "mine" / "carts.py", FILE.format(name="carts"))
    check(
        "mine/cart.py",
        "mine/cart.py is no file, folder or scenario's name (did you mean 'carts.py'?); mine has: carts.py",
    )


def test_a_syntax_error_shows_file_line_and_text(here):
    path = write(here / "carts.py", "x = 1\nif x\n    pass\n")
    check(path, f"{path}:2: expected ':': if x")


def test_an_import_error_shows_the_line_that_imports(here):
    path = write(here / "carts.py", "\n\nimport no_such_module\n")
    check(path, f"{path}:3: ModuleNotFoundError: No module named 'no_such_module'")


def test_a_file_without_scenario_says_what_it_lacks(here):
    path = write(here / "carts.py", "x = 1\n")
    check(path, f"{path}: no scenario here: expected a module-level `name = Scenario(...)`")
    check(here, f"{here}: no scenario in any file of this folder")


def test_two_scenarios_of_one_name_are_refused_with_both_places(here):
    one, two = (write(here / "mine" / name, FILE.format(name="carts")) for name in ("one.py", "two.py"))
    check(here / "mine", f"{two}:3: a second scenario called 'carts'; the first is at {one}:3")


def test_a_file_may_import_its_neighbours_and_the_application_in_the_current_directory(here):
    write(here / "my_application.py", "TABLE = 'CREATE TABLE t (k int)'\n")
    write(here / "mine" / "my_helpers.py", "NAME = 'carts'\n")
    text = "from harness import Scenario\nfrom my_helpers import NAME\nfrom my_application import TABLE\n"
    path = write(here / "mine" / "carts.py", f"{text}carts = Scenario(NAME, tables=TABLE)\n")
    assert names(load(path)) == ["carts"]
    assert str(here / "mine") not in sys.path


def test_a_scenario_imported_by_another_file_is_no_twin(here):
    write(here / "mine" / "a_first.py", FILE.format(name="carts"))
    write(here / "mine" / "b_second.py", "from a_first import carts\n")
    assert set(names(load_folder(here / "mine"))) == {"carts"}


def test_tables_may_be_a_file_beside_the_scenario(here):
    write(here / "mine" / "schema.sql", "CREATE TABLE t (k int)")
    text = "from pathlib import Path\nfrom harness import Scenario\ncarts = Scenario('carts', tables=Path('{}'))\n"
    (scenario,) = load(write(here / "mine" / "carts.py", text.format("schema.sql")))
    assert scenario.tables == "CREATE TABLE t (k int)"
    path = write(here / "mine" / "carts.py", text.format("shema.sql"))
    check(path, f"{path}:3: tables='shema.sql' cannot be read: No such file or directory")


def test_nothing_is_written_beside_the_file(here):
    load(write(here / "mine" / "carts.py", FILE.format(name="carts")))
    assert [path.name for path in (here / "mine").iterdir()] == ["carts.py"]


def test_the_digest_depends_on_tables_layout_and_operations_only(here):
    path = here / "mine" / "carts.py"
    text = FILE.format(name="carts")

    def digest_of(text: str, layout: str = "unique") -> str:
        return digest(load(write(path, text))[0], layout)

    first = digest_of(text)
    assert len(first) == 12 and set(first) <= set("0123456789abcdef")
    assert digest_of(text) == first
    assert digest_of(text + "@put.strategy\ndef other(connection: Connection, k: int) -> bool: return False\n") == first
    changed = [digest_of(text.replace(*change)) for change in (("t (k int)", "t (k text)"), ("True", "None"))]
    assert len({first, digest_of(text, "none"), *changed}) == 4

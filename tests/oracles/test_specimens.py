"""Each oracle condemns what it must and acquits what it must."""

import pytest

from harness.model.verdict import KINDS
from harness.oracles import ORACLES
from tests.oracles.specimens import SPECIMENS, TOPICS, check


@pytest.mark.parametrize("name", SPECIMENS)
def test_specimens_are_judged_as_written_beside_them(name: str) -> None:
    check(SPECIMENS[name])


def test_every_oracle_has_specimens_to_condemn_and_to_acquit() -> None:
    assert list(TOPICS) == [name for name, _ in ORACLES] == list(KINDS)
    for specimens in TOPICS.values():
        assert {specimen.finds == "safe" for specimen in specimens} == {True, False} or specimens is TOPICS["invariant"]


def test_names_of_specimens_are_unique() -> None:
    assert len(SPECIMENS) == sum(map(len, TOPICS.values()))

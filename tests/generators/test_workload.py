"""Workloads are about the entities that their mix says; turns are fair."""

from collections import Counter
from itertools import islice, pairwise

import pytest

from harness.generators.workload import EXISTING, Workload, setter, subject, turns, workload
from harness.model.cost import Mix
from harness.scenario.discovery import find
from harness.scenario.language import Scenario


@pytest.fixture(scope="module")
def purchases() -> Scenario:
    return find("purchases")[0]


def made(scenario: Scenario, mix: Mix, *, seed: int = 1, operation: str = "purchase") -> Workload:
    return workload(scenario, operation, mix, clients=4, calls=20, seed=seed)


def entities(work: Workload) -> list[tuple[object, object]]:
    return [(call["student"], call["course"]) for mine in work.clients for call in mine]


def before(work: Workload) -> set[tuple[object, object]]:
    return {(call["student"], call["course"]) for call in work.before}


def test_new_keys_are_nobodys(purchases: Scenario) -> None:
    work = made(purchases, Mix.NEW)
    assert not work.before
    assert len(set(entities(work))) == 80


def test_existing_keys_are_there(purchases: Scenario) -> None:
    work = made(purchases, Mix.EXISTING)
    assert len(before(work)) == EXISTING
    assert set(entities(work)) <= before(work)
    assert len(set(entities(work))) > 1


def test_the_hot_key_is_one(purchases: Scenario) -> None:
    work = made(purchases, Mix.HOT)
    assert set(entities(work)) == before(work)
    assert len(before(work)) == 1


def test_of_90_10_exactly_a_tenth_is_new(purchases: Scenario) -> None:
    work = made(purchases, Mix.MOSTLY_EXISTING)
    new = [entity for entity in entities(work) if entity not in before(work)]
    assert len(new) == len(set(new)) == 8


def test_equal_seeds_give_equal_work(purchases: Scenario) -> None:
    assert made(purchases, Mix.EXISTING) == made(purchases, Mix.EXISTING)
    assert made(purchases, Mix.EXISTING) != made(purchases, Mix.EXISTING, seed=2)


def test_an_entity_has_one_kind(purchases: Scenario) -> None:
    """A callback of a location that is there must not ask for an agency."""
    scenario = find("oauth_installations")[0]
    work = made(scenario, Mix.EXISTING, operation="install")
    kinds = {(call["owner"], call["kind"]) for mine in (*work.clients, work.before) for call in mine}
    assert len(kinds) == len({owner for owner, _ in kinds}) == EXISTING
    assert len({kind for _, kind in kinds}) == 2


def test_each_operation_is_set_by_one_with_its_keys() -> None:
    scenario = find("oauth_installations")[0]
    assert [setter(scenario, name) for name in ("install", "uninstall", "redeem")] == ["install", "install", "redeem"]
    assert {subject(strategy) for strategy in scenario.strategies} == {"install", "redeem"}


@pytest.mark.parametrize("size", range(1, 8))
def test_all_take_equal_turns_and_follow_each_other_equally_often(size: int) -> None:
    things = [chr(ord("a") + n) for n in range(size)]
    square = size * (1 + size % 2)  # an odd number needs the mirrored square, too
    rows = list(islice(turns(things, 5), square))
    assert all(sorted(row) == things for row in rows)
    for place in range(size):
        assert len(set(Counter(row[place] for row in rows).values())) == 1
    followers = Counter(pair for row in rows for pair in pairwise(row))
    assert len(followers) == size * (size - 1)
    assert len(set(followers.values())) <= 1


def test_turns_depend_on_the_seed_alone() -> None:
    assert list(islice(turns("abcd", 1), 9)) == list(islice(turns("abcd", 1), 9))
    assert list(islice(turns("abcd", 1), 9)) != list(islice(turns("abcd", 2), 9))

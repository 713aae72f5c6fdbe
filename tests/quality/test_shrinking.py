"""From ten random starts a broken strategy comes down to one and the same witness: the one known from its report."""

import pytest

from harness.servers.server import Server

from .shrinking import Laboratory, laboratories

PURCHASES = "s1: purchase(student=1, course=1, amount=1); s2: purchase(student=1, course=1, amount=2)"
# By hand, from what the reports say.
WITNESSES = [
    # Both look before either has inserted.
    (
        "purchases::ShippedFix[none,new,read_committed]",
        "duplicate",
        f"from 'new' (same student, same course): {PURCHASES}",
    ),
    # The index turns the second sale into an error.
    (
        "purchases::ShippedFix[partial,new,read_committed]",
        "23505",
        f"from 'new' (same student, same course): {PURCHASES}",
    ),
    # Stored, deactivated, stored: two rows of one account, both of which the fallback of the next call revives. The
    # first two calls need not be the strategy's: they are part of the start.
    (
        "qbo_tokens::insert_in_savepoint[partial,new,read_committed]",
        "23505",
        "from 'new', then store(user='user1', realm='realm1', token='token1'), deactivate(user='user1', realm='realm1')"
        " (same user, same realm): s1: store(user='user1', realm='realm1', token='token2'), "
        "store(user='user1', realm='realm1', token='token3')",
    ),
]


@pytest.mark.parametrize(("cell", "name", "contest"), WITNESSES)
def test_ten_random_starts_come_down_to_one_witness(
    server: Server, one_cpu: int | None, cell: str, name: str, contest: str
) -> None:
    with laboratories(one_cpu) as arenas:
        laboratory = Laboratory(arenas, server, cell)
        came_to = [next(s for s in laboratory.starts(seed) if s.name == name) for seed in range(10)]
    assert {str(start.contest) for start in came_to} == {contest}
    assert len({start.steps for start in came_to}) == 1
    assert max(start.before for start in came_to) > came_to[0].after  # some of them were larger

"""From random starts a broken strategy comes down to one and the same witness: the one known from its report."""

from uuid import UUID

import pytest

from harness.servers.server import Server

from .shrinking import Laboratory, laboratories

STARTS = 4  # ten of each, of every broken strategy: make bench
ORG = UUID(int=1)
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
    # Between the look that finds the row and the UPDATE the other one uninstalls: nothing is stored, nobody is told.
    (
        "oauth_installations::shipped_fix[partial,installed,read_committed]",
        "wrong-answer",
        "from 'installed' (same owner): s1: install(kind='location', owner='owner1', token=1); "
        "s2: uninstall(kind='location', owner='owner1')",
    ),
    # Restoring and updating are two transactions: who reads between them gets the token that was thrown away.
    (
        "platform_connections::shipped_fix[full,deleted,read_committed]",
        "wrong-answer",
        f"from 'deleted' (same org, same account): s1: connect(org={ORG!r}, account='account1', token='token1'); "
        f"s2: token_of(org={ORG!r}, account='account1')",
    ),
    # One at a time: the deleted row is invisible to the code, and not to the full index.
    (
        "platform_connections::update_or_create_in_savepoint[full,live,read_committed]",
        "23505",
        f"from 'live', then disconnect(org={ORG!r}, account='account1') (no common key): "
        f"s1: connect(org={ORG!r}, account='account1', token='token1')",
    ),
]


@pytest.mark.parametrize(("cell", "name", "contest"), WITNESSES)
def test_random_starts_come_down_to_one_witness(
    server: Server, one_cpu: int | None, cell: str, name: str, contest: str
) -> None:
    with laboratories(one_cpu) as arenas:
        laboratory = Laboratory(arenas, server, cell)
        came_to = [next(s for s in laboratory.starts(seed) if s.name == name) for seed in range(STARTS)]
    assert {str(start.contest) for start in came_to} == {contest}
    assert len({start.steps for start in came_to}) == 1
    assert max(start.before for start in came_to) > came_to[0].after  # some of them were larger

"""Row-level security: what an upsert needs besides a policy for INSERT (D117, D209), by the policies there are.

Which policies apply is in the table "Policies Applied by Command Type" of the CREATE POLICY page.
"""

from collections.abc import Iterator

from harness.doctor.catalogue import Policy
from harness.doctor.rules.rule import Case, Edit, Found, Proposal, listed, place, rule
from harness.scenario.lexer import quoted


@rule("D117", "row-level security without a policy for SELECT", sqlstate="42501")
def no_select_policy(case: Case) -> Iterator[Found]:
    """An upsert reads: under row-level security it needs a policy that lets the role SELECT.

    Without one it is 42501 "new row violates row-level security policy" for every row, conflict or not, and although
    INSERT and UPDATE policies allow it. RETURNING needs it too. The owner of the table and superusers are exempt
    (unless FORCE ROW LEVEL SECURITY), which is why it works in psql. DO NOTHING without target and without RETURNING
    reads nothing.
    """
    if not case.table.row_security:
        return
    silent = case.conflict.action == "nothing" and case.shape.returning is None
    if silent and not case.conflict.targeted:
        return
    for policy in _lacking(case, "r")[:1]:
        sql = [Proposal(edits=(Edit("target", ""),), comment="reads nothing; every unique index then arbitrates")]
        yield Found(
            f"row-level security lets {listed(policy.roles)} INSERT (policy {policy.name}), but no policy lets it "
            "SELECT, which ON CONFLICT needs",
            (
                *(sql if silent else ()),
                Proposal(
                    ddl=(_policy(case, policy, "SELECT"),),
                    comment="decide who may see which rows; this shows those that may be inserted",
                ),
            ),
        )


@rule("D209", "row-level security without a policy for UPDATE")
def no_update_policy(case: Case) -> Iterator[Found]:
    """DO UPDATE needs a policy that lets the role UPDATE the row that is there: otherwise the first conflict is
    42501.

    It is also 42501 where a policy is there and its USING excludes the row: somebody else's row is not skipped, it is
    an error, which tells that the key is taken. (A plain UPDATE would have passed over it in silence.)
    """
    if not case.table.row_security or case.conflict.action != "update":
        return
    for policy in _lacking(case, "w")[:1]:
        yield Found(
            f"row-level security lets {listed(policy.roles)} INSERT (policy {policy.name}), but no policy lets it "
            "UPDATE: the first conflict is refused",
            (
                Proposal(edits=(Edit("act", "DO NOTHING"),)),
                Proposal(
                    ddl=(_policy(case, policy, "UPDATE"),),
                    comment="decide who may change which rows; this lets change those that may be inserted",
                ),
            ),
            sqlstate="42501",
        )


def _lacking(case: Case, command: str) -> list[Policy]:
    """The policies for INSERT whose roles have none for the command."""
    permissive = [policy for policy in case.table.policies if policy.permissive]
    having = [policy for policy in permissive if policy.command in (command, "*")]
    inserting = [policy for policy in permissive if policy.command in ("a", "*")]
    return [policy for policy in inserting if not any(_covers(one, policy) for one in having)]


def _covers(having: Policy, inserting: Policy) -> bool:
    return "public" in having.roles or set(inserting.roles) <= set(having.roles)


def _policy(case: Case, like: Policy, command: str) -> str:
    roles = listed([role if role == "public" else quoted(role) for role in like.roles])
    name = quoted(f"{like.name}_{command.lower()}"[:63])
    using = like.check or like.using or "true"
    return f"CREATE POLICY {name} ON {place(case.table)} FOR {command} TO {roles} USING ({using})"

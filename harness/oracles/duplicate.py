"""More live rows of one identity than any allowed outcome has."""

from collections.abc import Iterator

from harness.model.verdict import Violation
from harness.oracles import allowed
from harness.oracles.evidence import Evidence, Key


def judge(evidence: Evidence) -> Violation | None:
    for identity, keys in evidence.live(evidence.outcome).items():
        for key, found in keys.items():
            # Orders are looked at only where there is a suspicion: most trials have none.
            if found <= (most := _harmless(evidence, identity, key)):
                continue
            most = max(most, *_in_serial_outcomes(evidence, identity, key))
            if found > most:
                shown = ", ".join(map(repr, key))
                words = (
                    f"{found} live rows of {identity} = ({shown}); no order of the operations leaves more than {most}"
                )
                return Violation("duplicate", words)
    return None


def _harmless(evidence: Evidence, identity: str, key: Key) -> int:
    """The number of live rows that is no duplicate whatever the orders leave.

    One row never is: where every order leaves none it is too many, but something else. And what the start state already
    has is not the strategy's doing, even if every order would have tidied it up.
    """
    return max(1, evidence.live_at_start.get(identity, {}).get(key, 0))


def _in_serial_outcomes(evidence: Evidence, identity: str, key: Key) -> Iterator[int]:
    for _, outcome in allowed.outcomes(evidence):
        yield evidence.live(outcome).get(identity, {}).get(key, 0)

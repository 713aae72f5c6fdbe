"""More live rows of one identity than any allowed outcome has."""

from harness.model.verdict import Violation
from harness.oracles import allowed
from harness.oracles.evidence import Evidence, Key


def judge(evidence: Evidence) -> Violation | None:
    for identity, keys in evidence.live(evidence.outcome).items():
        for key, found in keys.items():
            if found > (most := _most(evidence, identity, key)):
                shown = ", ".join(map(repr, key))
                words = (
                    f"{found} live rows of {identity} = ({shown}); no order of the operations leaves more than {most}"
                )
                return Violation("duplicate", words)
    return None


def _most(evidence: Evidence, identity: str, key: Key) -> int:
    """The number of live rows that is no duplicate.

    One row never is: where every order leaves none it is too many, but something else. And what the start state already
    has is not the strategy's doing, even if every order would have tidied it up.
    """
    at_start = evidence.live_at_start.get(identity, {}).get(key, 0)
    serial = (evidence.live(outcome).get(identity, {}).get(key, 0) for _, outcome in allowed.outcomes(evidence))
    return max(1, at_start, *serial)

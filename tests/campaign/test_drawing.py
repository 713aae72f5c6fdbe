"""One run of Hypothesis: it finds what fails, wherever it is stopped on its way to something smaller."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import strategies as st

from harness.campaign import drawing
from harness.campaign.drawing import Draw, Drawing, Shown
from harness.campaign.judge import DoesNotRepeat
from harness.model.contest import Call, Contest
from harness.model.verdict import Violation

LIMIT = 37


class Numbers(Drawing):
    """Stands in for a server: every number from LIMIT on fails, and fails again."""

    luck = 0

    def shown(self, draw: Draw, ignored: frozenset[str] = frozenset()) -> Shown:
        self.drawn += 1
        number = draw(st.integers(0, 1000))
        for _ in range(number % 5 + self.luck):  # more or fewer draws: a run that is cut short shows
            draw(st.booleans())
        contest = Contest("new", ((Call("store", (("number", number),)),),), "")
        violation = Violation("duplicate", "twice") if number >= LIMIT and not ignored else None
        trial: Any = SimpleNamespace(overlapped=True, order=[])
        return Shown(contest, trial, None, violation)


def numbers(kind: type[Drawing] = Numbers) -> Drawing:
    judge: Any = None
    return kind(judge, st.nothing(), lambda contest: True)


@pytest.mark.parametrize("most", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
@pytest.mark.parametrize("seed", range(5))
def test_a_failure_is_found_wherever_shrinking_is_stopped(
    most: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "SHRINKS_MAX", most)
    (found,) = numbers().search(100, seed)
    assert int(str(dict(found.least.contest.sessions[0][0].arguments)["number"])) >= LIMIT
    assert found.shrinks <= most + 1


def test_what_draws_otherwise_when_it_is_run_again_is_not_believed() -> None:
    class Moody(Numbers):
        def shown(self, draw: Draw, ignored: frozenset[str] = frozenset()) -> Shown:
            self.luck = self.drawn % 2
            return super().shown(draw, ignored)

    with pytest.raises(DoesNotRepeat, match="does not repeat"):
        list(numbers(Moody).search(100, 1))


@pytest.mark.parametrize("at", [1, 2, 20, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70])
def test_the_reason_why_nothing_more_can_be_run_is_told(at: int) -> None:
    class Lost(Numbers):
        def shown(self, draw: Draw, ignored: frozenset[str] = frozenset()) -> Shown:
            if self.drawn + 1 >= at:
                raise ConnectionError("the server is gone")
            return super().shown(draw, ignored)

    try:
        found = list(numbers(Lost).search(100, 1))
    except ConnectionError:
        return
    assert found  # it was over before
    assert at > 20

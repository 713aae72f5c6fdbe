"""Sleep sets over toy programs whose dependence is known: every class of equivalent orders, each exactly once."""

import random
from collections.abc import Callable, Sequence

import pytest

from harness.schedulers.protocol import Departure, Pruned
from harness.schedulers.sleep_sets import SleepSets

Access = tuple[str, str]  # variable, 'r' or 'w'
Program = Sequence[Sequence[Access]]


def depends(a: Access, b: Access) -> bool:
    return a[0] == b[0] and "w" in (a[1], b[1])


def program(text: str) -> Program:
    """'rx wy | wx': s1 reads x and writes y, s2 writes x."""
    return [[(step[1], step[0]) for step in session.split()] for session in text.split("|")]


def explored(
    sessions: Program, depend: Callable[[Access, Access], bool] = depends
) -> tuple[list[tuple[int, ...]], SleepSets[Access]]:
    scheduler = SleepSets[Access](depend)
    ran = []
    while scheduler.new_trial():
        at, choices, current = [0] * len(sessions), [], None
        try:
            while options := tuple(i for i, steps in enumerate(sessions) if at[i] < len(steps)):
                chosen = scheduler.choose(options, current if current in options else None, "run")
                choices.append((chosen, options, "run"))
                scheduler.observe(sessions[chosen][at[chosen]])
                at[chosen] += 1
                current = chosen
        except Pruned:
            continue
        scheduler.finished(choices)
        ran.append(tuple(chosen for chosen, _, _ in choices))
    return ran, scheduler


def every_order(lengths: tuple[int, ...]) -> list[tuple[int, ...]]:
    if not any(lengths):
        return [()]
    return [
        (i, *rest) for i, n in enumerate(lengths) if n for rest in every_order((*lengths[:i], n - 1, *lengths[i + 1 :]))
    ]


def class_of(order: Sequence[int], sessions: Program) -> frozenset[object]:
    """Which of two dependent steps came first: equal for equivalent orders, and for no others."""
    at = [0] * len(sessions)
    steps = []
    for session in order:
        steps.append((session, at[session], sessions[session][at[session]]))
        at[session] += 1
    return frozenset(
        (a[:2], b[:2]) for i, a in enumerate(steps) for b in steps[i + 1 :] if a[0] != b[0] and depends(a[2], b[2])
    )


def check(text: str, *, orders: int, classes: int) -> None:
    sessions = program(text)
    ran, scheduler = explored(sessions)
    everything = every_order(tuple(map(len, sessions)))
    assert len(everything) == orders
    assert len(ran) == len(set(ran)) == scheduler.classes == classes
    assert {class_of(o, sessions) for o in ran} == {class_of(o, sessions) for o in everything}


@pytest.mark.parametrize(
    ("text", "orders", "classes"),
    [
        ("wx | wy", 2, 1),
        ("wx | wx", 2, 2),
        ("rx | rx | rx", 6, 1),
        ("rx wx | rx wx", 6, 4),
        ("rx wx | ry wy", 6, 1),
        ("wx wy | wy wx", 6, 3),
        ("wx | wx | wy", 6, 2),
    ],
)
def test_every_class_once(text: str, orders: int, classes: int) -> None:
    check(text, orders=orders, classes=classes)


def test_random_programs() -> None:
    source = random.Random(1)
    for _ in range(200):
        sessions = [
            [(source.choice("xyz"), source.choice("rw")) for _ in range(source.randint(1, 3))]
            for _ in range(source.choice((2, 2, 3)))
        ]
        ran, scheduler = explored(sessions)
        classes = {class_of(o, sessions) for o in every_order(tuple(map(len, sessions)))}
        assert {class_of(o, sessions) for o in ran} == classes
        assert scheduler.classes == len(ran) == len(classes), "a class was run twice"


def test_without_independence_it_is_brute_force() -> None:
    ran, scheduler = explored(program("rx rx | rx rx"), lambda a, b: True)
    assert (len(ran), scheduler.pruned) == (6, 0)


def test_a_step_nobody_observed_never_sleeps() -> None:
    scheduler = SleepSets[Access](depends)
    ran = 0
    while scheduler.new_trial():
        first = scheduler.choose((0, 1), None, "run")
        scheduler.choose((1 - first,), None, "run")
        scheduler.finished([(first, (0, 1), "run"), (1 - first, (1 - first,), "run")])
        ran += 1
    assert ran == 2


def test_every_victim_is_taken() -> None:
    scheduler = SleepSets[Access](depends)
    victims = []
    while scheduler.new_trial():
        scheduler.choose((0,), None, "run")
        victims.append(scheduler.choose((0, 1), None, "victim"))
        scheduler.observe(("x", "w"))
        scheduler.finished([(0, (0,), "run"), (victims[-1], (0, 1), "victim")])
    assert victims == [0, 1]


def test_a_trial_that_goes_another_way_is_a_departure() -> None:
    scheduler = SleepSets[Access](lambda a, b: True)
    assert scheduler.new_trial()
    scheduler.choose((0, 1), None, "run")
    scheduler.observe(("x", "w"))
    scheduler.choose((1,), None, "run")
    scheduler.finished([(0, (0, 1), "run"), (1, (1,), "run")])
    assert scheduler.new_trial()
    with pytest.raises(Departure, match="expected s1, s2 to be able to go on, found s2"):
        scheduler.choose((1,), None, "run")

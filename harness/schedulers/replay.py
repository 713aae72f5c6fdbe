"""Follows a recorded schedule, and says where a trial departs from it."""

from collections.abc import Sequence

from harness.schedulers.protocol import Departure, names


class Replay:
    """Takes the recorded choices, once; compares who could go on at each step with what was recorded."""

    def __init__(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        self._choices = tuple(choices)
        self._fresh = True
        self._step = 0

    def new_trial(self) -> bool:
        fresh, self._fresh, self._step = self._fresh, False, 0
        return fresh

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        step = self._step
        self._step += 1
        if step >= len(self._choices):
            raise Departure(step + 1, "the end", f"{names(options)} still going on")
        chosen, expected, expected_event = self._choices[step]
        if (options, event) != (expected, expected_event):
            raise Departure(step + 1, f"{names((chosen,))} out of {names(expected)}", names(options))
        return chosen

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        if len(choices) < len(self._choices):
            chosen, _, _ = self._choices[len(choices)]
            raise Departure(len(choices) + 1, names((chosen,)), "the end")

"""Follows a recorded schedule, and says where a trial departs from it; or goes on past that as near to it as it can."""

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


class Following:
    """The recorded choices as far as they are possible; otherwise the running session goes on.

    A recorded choice of a session that cannot go now is left out, so that the order of the others stays. `departure`
    is the first one, if there was any. `open_ended`: what was recorded is only the beginning, of a trial cut short.
    """

    def __init__(self, choices: Sequence[tuple[int, tuple[int, ...], str]], *, open_ended: bool = False) -> None:
        self._choices, self._open_ended = tuple(choices), open_ended
        self._fresh = True
        self._at = self._step = 0
        self.departure: Departure | None = None

    def new_trial(self) -> bool:
        fresh, self._fresh, self._at, self._step = self._fresh, False, 0, 0
        return fresh

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        self._step += 1
        while self._at < len(self._choices):
            chosen, expected, expected_event = self._choices[self._at]
            if expected and (options, event) != (expected, expected_event):
                self._departs(f"{names((chosen,))} out of {names(expected)}", names(options))
            if event == expected_event and chosen in options:
                self._at += 1
                return chosen
            if event != "run":
                break  # who loses, or wakes, was no question then: the recorded steps are still to come
            self._at += 1
        else:
            if not self._open_ended:
                self._departs("the end", f"{names(options)} still going on")
        return current if current is not None and current in options else options[0]

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        if self._at < len(self._choices):
            self._departs(names((self._choices[self._at][0],)), "the end")

    def _departs(self, expected: str, found: str) -> None:
        self.departure = self.departure or Departure(self._step, expected, found)

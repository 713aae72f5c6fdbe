"""Follows an order of sessions as far as it can be followed, for a contest that is not quite the one it is of."""

from collections.abc import Sequence


class Followed:
    """One trial: whoever is next in the list and can go on, goes; at its end, whoever went last.

    What is left of a witness when a part of its contest is taken away mostly still shows the same, in the same order.
    """

    def __init__(self, sessions: Sequence[int]) -> None:
        self._sessions, self._fresh = tuple(sessions), True
        self._at = 0

    def new_trial(self) -> bool:
        fresh, self._fresh, self._at = self._fresh, False, 0
        return fresh

    def choose(self, options: tuple[int, ...], current: int | None, event: str) -> int:
        for at in range(self._at, len(self._sessions)):
            if self._sessions[at] in options:
                self._at = at + 1
                return self._sessions[at]
        return options[0] if current is None else current

    def finished(self, choices: Sequence[tuple[int, tuple[int, ...], str]]) -> None:
        """There is no other trial."""

"""What two runs of one schedule are compared in: statements, waits, gates, answers, rows."""

from harness.runners.explorer import Trial
from harness.runners.recorder import Recorder
from harness.sessions.statement import Statement


class Heard(Recorder):
    """Notes what was sent, waited and completed as lines that can be compared and read.

    Without parameters and results: an id that the server made up is no difference. Outcomes are canonical.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def sent(self, session: int, statement: Statement, result: str) -> None:
        self.lines.append(f"s{session + 1} sends {statement.text!r}")

    def waiting(self, session: int, statement: Statement, why: str) -> None:
        self.lines.append(f"s{session + 1} waits in {statement.text!r}, {why}")

    def completed(self, session: int, statement: Statement, result: str) -> None:
        self.lines.append(f"s{session + 1} completes {statement.text!r}")


def parting(first: Heard, then: Heard) -> str:
    """Where two runs begin to differ in what was sent: more telling than that others can go on."""
    for number, (once, twice) in enumerate(zip(first.lines, then.lines, strict=False), 1):
        if once != twice:
            return f"; event {number}: first {once}, then {twice}"
    return ""


def facts(trial: Trial, heard: Heard) -> dict[str, object]:
    """All that must not differ, by name, in the order in which a difference is worth telling."""
    ended, outcome = trial.ended, trial.seen.outcome
    told: dict[str, object] = {f"event {number}": line for number, line in enumerate(heard.lines, 1)}
    told["choices"] = list(ended.choices)
    told["waits"], told["gates"], told["hang"] = ended.waits, list(ended.gates), ended.hang
    told["operations' first and last steps"] = ended.spans
    told |= {f"the answer to s{ref.session + 1}'s call {ref.position + 1}": a for ref, a in outcome.answers}
    told |= {f"rows of {table.name}": table.rows for table in outcome.rows}
    told |= {f"the answer to s{ref.session + 1}, called again": answer for ref, answer in trial.retried.items()}
    return told

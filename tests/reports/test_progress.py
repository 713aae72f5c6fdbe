"""Progress in a log: what is worse than expected at once, and the end."""

import io

from rich.console import Console

from harness.campaign.campaign import Progress
from harness.model.verdict import Verdict
from harness.reports.progress import progress
from tests.reports.made import DUPLICATE, result


def heard(*, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with progress(console) as listener:
        listener(result("Fixed none new rc"))
        listener(Progress(1, 2, "items::Fixed[none,new,read_committed,pg18]"))
        listener(result("Naive none new rc", Verdict.UNSAFE, DUPLICATE, as_expected=False))
        listener(result("Naive none old rc", Verdict.UNKNOWN, as_expected=False))
        listener(Progress(2, 2, "items::Naive[none,new,read_committed,pg18]"))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_a_log_gets_a_line_now_and_then() -> None:
    assert heard(terminal=False).splitlines() == [
        "worse than expected: items::Naive[none,new,read_committed,pg18]: unsafe duplicate",
        "2/2 items::Naive[none,new,read_committed,pg18]",
    ]


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    text = heard(terminal=True)
    assert "worse than expected: items::Naive[none,new,read_committed,pg18]: unsafe duplicate" in text
    assert "items::Naive[none,new,read_committed,pg18]" in text  # the brackets are no markup
    assert text.endswith("\x1b[2K")  # the line is cleared

"""The rows of what goes on inside statements, of sessions that nobody steers, and of certificates."""

from time import perf_counter

from .report import row
from .rows import Bench
from .workload import workload


def _schedules_per_s(bench: Bench, layout: str) -> float:
    with workload(bench.server, layout, cpu=bench.cpu, operation="upsert", gates=True) as work:
        return work.per_s(10, 100)


@row("held at triggers (best round)", "schedules/s", at_least=900)
def at_triggers(bench: Bench) -> float:
    return _schedules_per_s(bench, "unique")


@row("held before the indexes, too (best round)", "schedules/s", at_least=400)
def before_the_indexes(bench: Bench) -> float:
    return _schedules_per_s(bench, "two")


@row("2 sessions at once, one upsert each (best round)", "pairs/s", at_least=3000)
def overlapping(bench: Bench) -> float:
    with workload(bench.server, "unique", cpu=bench.cpu, operation="upsert") as work:
        rounds = []
        for _ in range(6):
            began = perf_counter()
            pairs = sum(1 for _ in work.explorer.overlap(work.contest, 500))
            rounds.append(pairs / (perf_counter() - began))
        return max(rounds)


def _certified(bench: Bench, operation: str, sessions: int, times: int) -> tuple[float, int]:
    """Seconds of the best run, and classes."""
    with workload(bench.server, "unique", cpu=bench.cpu, operation=operation, sessions=sessions) as work:
        took = []
        for _ in range(times):
            began = perf_counter()
            classes = work.certified().classes
            took.append(perf_counter() - began)
        return min(took), classes


_CERTIFICATES = (
    ("2 x 6 steps", "six_steps", 2, 5, 0.4),
    ("3 x (SELECT, UPSERT, COMMIT)", "look_and_upsert", 3, 3, 0.5),
    ("4 x (SELECT, UPSERT, COMMIT), one key", "look_and_upsert", 4, 1, 15.0),
)


def _add(name: str, operation: str, sessions: int, times: int, mark: float) -> None:
    told: dict[str, int] = {}

    def seconds(bench: Bench) -> float:
        took, told["classes"] = _certified(bench, operation, sessions, times)
        return took

    row(f"certificate: {name}", "s", at_most=mark)(seconds)
    row(f"certificate: {name}: how many", "classes")(lambda bench: float(told["classes"]))


for _certificate in _CERTIFICATES:
    _add(*_certificate)

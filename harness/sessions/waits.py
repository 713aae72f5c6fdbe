"""Who waits for whom: sessions are the nodes, with all their connections; waiting for a slot of a pool is an edge."""

from dataclasses import dataclass

from harness.sessions.session import Session, State


@dataclass(frozen=True, slots=True)
class Waits:
    sessions: list[Session]
    owners: dict[int, Session]  # backend pid -> session

    def edges(self, session: Session) -> set[int]:
        if session.state is State.BLOCKED:
            return {self.owners[pid].index for pid in session.blockers if pid in self.owners}
        if session.state is State.POOLED:
            return {holder.index for holder in session.pool.holders()}
        return set()

    def waiters_of(self, session: Session) -> list[Session]:
        """Sessions that wait for this one, directly or not; who waits longest first."""
        for other in self.sessions:
            if other.state is State.BLOCKED:
                break
        else:
            return []
        reached = {session.index}
        grown = True
        while grown:
            grown = False
            for other in self.sessions:
                if other.state is State.BLOCKED and other.index not in reached and self.edges(other) & reached:
                    reached.add(other.index)
                    grown = True
        found = [s for s in self.sessions if s.index in reached and s.state is State.BLOCKED and s is not session]
        return sorted(found, key=lambda s: s.waits_since)

    def cycle(self, pending: list[Session]) -> list[Session] | None:
        """A cycle that the server can see: among backends, not merely among sessions."""
        pids = {s.connection.pid: s for s in pending}
        for start in pending:
            path: list[Session] = []
            seen: set[int] = set()

            def visit(s: Session, start: Session = start, path: list[Session] = path, seen: set[int] = seen) -> bool:
                path.append(s)
                seen.add(s.connection.pid)
                for pid in sorted(s.blockers):
                    if pid == start.connection.pid:
                        return True
                    if pid in pids and pid not in seen and visit(pids[pid]):
                        return True
                path.pop()
                return False

            if visit(start):
                return path
        return None

    def names(self, pids: frozenset[int]) -> str:
        names = sorted({f"s{self.owners[p].index + 1}" if p in self.owners else f"backend {p}" for p in pids})
        return ", ".join(names) or "nobody"

    def standing(self) -> str:
        return "; ".join(f"s{s.index + 1} {s.state.value}" for s in self.sessions)

    def why_stuck(self) -> str:
        parts = []
        for s in self.sessions:
            if s.state is State.BLOCKED:
                parts.append(f"s{s.index + 1} waits for a lock that {self.names(s.blockers)} holds")
            elif s.state is State.POOLED:
                holders = ", ".join(sorted({f"s{h.index + 1}" for h in s.pool.holders()}))
                parts.append(f"s{s.index + 1} waits for a pool connection that {holders} holds")
        return "; ".join(parts)

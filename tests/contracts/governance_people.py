"""Who may do what in the game of governance, in plain Python: decision 21 read a second time."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.contracts.governance_nouns import GROUP, Login, demand

APPROVER, BREAK_GLASS = "APPROVER", "BREAK_GLASS"


@dataclass
class People:
    """Roles that decide, and one group.

    Attributes:
        given: who or what group has a role on which scope.
    """

    members: set[str]
    given: dict[str, set[tuple[str, str]]] = field(
        default_factory=lambda: {APPROVER: set(), BREAK_GLASS: set()}
    )

    def has(self, who: str, role: str, scope: str) -> bool:
        """Return whether somebody has a role on a scope, or on one around it."""
        around = {"", scope.partition("/")[0], scope}
        subjects = {who} | ({GROUP} if who in self.members else set())
        return any(subject in subjects and where in around for subject, where in self.given[role])

    def grant(self, by: Login, subject: str, role: str, scope: str) -> None:
        """Give a role, but not to oneself, nor to who made the token with which one calls."""
        if (subject, scope) not in self.given[role]:
            get = self.members | {subject} if subject == GROUP else {subject}
            demand(not get & by.persons, "for oneself")
            self.given[role].add((subject, scope))

    def revoke(self, subject: str, role: str, scope: str) -> None:
        demand((subject, scope) in self.given[role], "no such grant")
        self.given[role].discard((subject, scope))

    def set_members(self, by: Login, members: set[str]) -> None:
        """Change the group, but bring in no oneself when it decides."""
        decides = any(subject == GROUP for held in self.given.values() for subject, _ in held)
        demand(not decides or not (members - self.members) & by.persons, "for oneself")
        self.members = set(members)

    def end(self, scope: str) -> None:
        """End what was granted on a model."""
        for role, held in self.given.items():
            self.given[role] = {each for each in held if each[1] != scope}

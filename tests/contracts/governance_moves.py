"""What can be done in the game of governance, how often beside the others, and with what."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.contracts.governance_nouns import GROUP, PATIENCE, USUAL, Draft
from tests.contracts.governance_people import APPROVER, BREAK_GLASS
from tests.contracts.governance_scenes import CHAMPION, HOUR, PRODUCTION, SCENES, STAGING, STEP
from tests.contracts.governance_table import CALLERS, MODELS, OVERRIDERS, PERSONS

ARCHIVE = ("stage", "archived")
SCOPES = ("", "default", "default/fraud", "other")
RARELY = (False, False, False, True)

callers = st.sampled_from(CALLERS)
# Nobody for the first admin.
givers = st.sampled_from(("", "", *CALLERS))
subjects = st.sampled_from((*CALLERS, GROUP))
models = st.sampled_from((MODELS[0], MODELS[0], *MODELS))
numbers = st.integers(1, 4)
contents = st.sampled_from(("a", "b", "c", "d"))
# None for one that a policy protects.
targets = st.sampled_from((None, None, None, PRODUCTION, CHAMPION, STAGING, ARCHIVE))
approving = st.one_of(st.lists(callers, max_size=2), st.lists(callers, max_size=2), st.permutations(CALLERS))
proposers = st.sampled_from(("user:wim", "user:wim", *CALLERS))
spaces = st.sampled_from(("default", "default", "other"))
names = st.sampled_from(("careful", "strict"))
aliases = st.sampled_from(("champion", "champion", "canary"))
drafts = st.builds(
    Draft,
    st.sampled_from((PRODUCTION, PRODUCTION, CHAMPION, CHAMPION, ARCHIVE, STAGING)),
    models=st.sampled_from(("*", "*", "fraud", "churn", "plain")),
    highest=st.sampled_from((0, 0, 0, 2)),
    newer=st.sampled_from(RARELY),
    outside=st.sampled_from(RARELY),
    count=st.sampled_from((0, 1, 1, 2)),
    by_group=st.booleans(),
    lifetime=st.sampled_from((0, 0, HOUR)),
)
# Which of the proposals, counted from the last one.
places = st.sampled_from((0, 0, 0, 1, 1, 2, 3))
lists = st.sampled_from(
    (USUAL, USUAL, (*USUAL, "gold"), USUAL[:-1], USUAL[:2], (*USUAL[:1], *USUAL[2:])),
)
casts = st.permutations(PERSONS)
ends = st.sampled_from(("Delete", "Delete", "Undelete", "Purge"))

MOVES: dict[str, tuple[int, dict[str, Any]]] = {
    "play": (
        10,
        {"name": st.sampled_from(SCENES), "cast": casts, "target": st.sampled_from((PRODUCTION, CHAMPION))},
    ),
    "scene_race": (
        4,
        {"cast": casts, "target": st.sampled_from((PRODUCTION, CHAMPION)), "which": st.integers(0, 35)},
    ),
    "create": (1, {"who": callers, "model": models, "which": contents, "imported": st.booleans()}),
    "copy": (1, {"who": callers, "source": models, "number": numbers, "model": models}),
    "evaluate": (1, {"who": callers, "model": models, "number": numbers}),
    "promote": (
        6,
        {
            "who": proposers,
            "at": places,
            "to": targets,
            "archives": st.sampled_from(RARELY),
            "persons": approving,
        },
    ),
    "set_policy": (
        3,
        {
            "who": proposers,
            "space": spaces,
            "name": names,
            "draft": st.one_of(st.none(), drafts, drafts),
            "persons": approving,
        },
    ),
    "approve": (2, {"who": callers, "place": places, "lent": st.sampled_from((0, 0, 1))}),
    "turn_down": (
        2,
        {
            "who": callers,
            "place": places,
            "verdict": st.sampled_from(("REJECT", "WITHDRAW", "WITHDRAW", "CANCEL")),
        },
    ),
    "report": (1, {"who": callers, "place": places, "passed": st.sampled_from((True, True, False))}),
    "override": (
        2,
        {
            "who": st.sampled_from((*OVERRIDERS, *CALLERS)),
            "place": st.integers(0, 9),
            "lent": st.sampled_from((0, 0, 1)),
        },
    ),
    "revoke": (1, {"who": callers, "model": models, "number": numbers}),
    "move_alias": (2, {"who": callers, "model": models, "name": aliases, "number": st.integers(-1, 4)}),
    "end_version": (2, {"who": callers, "model": models, "number": numbers, "rpc": ends}),
    "end_model": (1, {"who": callers, "model": models, "rpc": ends}),
    "rename": (
        1,
        {
            "who": callers,
            "model": models,
            "new": st.sampled_from(("default/plain", "default/churn", "other/plain", "default/fraud")),
        },
    ),
    "set_stages": (1, {"who": callers, "space": spaces, "stages": lists}),
    "lend": (1, {"maker": callers, "who": callers, "which": places}),
    "change_roles": (
        2,
        {
            "by": givers,
            "who": subjects,
            "scope": st.sampled_from(SCOPES),
            "role": st.sampled_from((APPROVER, APPROVER, BREAK_GLASS)),
            "takes": st.booleans(),
        },
    ),
    "change_group": (1, {"by": givers, "members": st.sets(st.sampled_from(PERSONS), min_size=1)}),
    "wait": (1, {"seconds": st.sampled_from((STEP // 2, STEP, PATIENCE + STEP))}),
}


def with_arguments(name: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(MOVES[name][1]))


# Not rules of their own, for Hypothesis leaves some rules out of each run, and most things need several.
moves = st.sampled_from([name for name, (weight, _) in MOVES.items() for _ in range(weight)]).flatmap(
    with_arguments
)

"""Places: where a version stands, and whose word it takes that it leaves one or is used there again.

Checks are about what comes in. Of the policies of other places than the target only the approvals decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard_server.core import blockers, governance, marks, stages
from steelyard_server.core.targets import ALIAS, STAGE, Target

if TYPE_CHECKING:
    from steelyard_server.core.governance import Policy
    from steelyard_server.core.models import Model
    from steelyard_server.db.database import Row, Transaction

# Who takes a version out of use does not want it used again.
_UNUSED = (Target(STAGE, stages.FIRST), Target(STAGE, stages.ARCHIVED))


def reinstates(tx: Transaction, *, model: Model, version: Row, target: Target) -> str:
    """Return the revocation that a move to *target* would lift, as `marks.revocation`; empty for none.

    None is lifted on the way out of use, and none at a target that nobody protects while policies protect
    others of the model.
    """
    revoked = marks.revocation(version)
    if not revoked or target in _UNUSED:
        return ""
    guarded = governance.protecting(tx, model=model, target=target)
    return revoked if guarded or not governance.holding(tx, model=model) else ""


def beside(tx: Transaction, *, model: Model, version: Row, target: Target, lifts: bool) -> list[Policy]:
    """Return the policies of other places that a move to *target* concerns, in the order of their names.

    Args:
        lifts: whether the version is put into use again, which it then is wherever it stands.
    """
    places = [Target(STAGE, version.stage)] if lifts or target.kind == STAGE else []
    if lifts:
        pointing = blockers.collect(tx, model=model, number=version.number)
        places += [Target(ALIAS, name) for name in pointing.aliases]
    places = [each for each in places if each not in {target, _UNUSED[0]}]
    if not places:
        return []
    held = governance.holding(tx, model=model)
    return [each for each in held if any(each.draft.target.covers(place) for place in places)]

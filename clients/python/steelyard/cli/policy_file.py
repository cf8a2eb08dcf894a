"""``policy set -f FILE``: a policy as people write it, and as ``policy show`` writes it for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from steelyard.cli import documents, output, values

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.cli.documents import Node
    from steelyard.errors import SteelyardError
    from steelyard.v1 import policy_pb2

KEYS = (
    "namespace", "name", "description", "models", "target", "checks", "outside_checks", "approvals",
    "evaluations",
)  # fmt: skip
TARGETS = ("stage", "alias", "environment")
WITHOUT_INCUMBENT = ("pass", "fail")
# What the server calls otherwise than a file does.
_OTHER_NAMES = {"lifetime_seconds": "lifetime", "age_seconds": "age", "policy.": ""}


def read(path: Path, *, namespace: str) -> dict[str, Any]:
    """Return the policy of a file by the names of its message.

    Args:
        namespace: that it belongs to when the file names none.

    Raises:
        InvalidArgument: a key is not known or wanting, or a value is not what its key takes.
        FileUnreadable: the file cannot be read.
    """
    root = documents.read(path)
    members = root.members(known=KEYS)
    found: dict[str, Any] = {
        "namespace": _text(members, "namespace") or namespace,
        "name": _required(root, "name").text(),
        "description": _text(members, "description"),
        "models": _texts(members, "models"),
        "target": _target(_required(root, "target")),
        "checks": [_check(each) for each in members["checks"].entries()] if "checks" in members else [],
        "outside_checks": _texts(members, "outside_checks"),
    }
    if "approvals" in members:
        found["approvals"] = _approvals(members["approvals"])
    if "evaluations" in members:
        found["evaluations"] = _evaluations(members["evaluations"])
    return found


def explained(error: SteelyardError, *, path: Path, policy: dict[str, Any]) -> SteelyardError:
    """Return an error of the server with the file, by the names in it, and the place in a check."""
    message = error.message
    for name, written in _OTHER_NAMES.items():
        message = message.replace(name, written)
    lines = [f"{path}: {message}"]
    if expression := _expression(error.field, policy):
        lines += _pointed(expression, column=int(error.metadata.get("column", "0")))
    return type(error)("\n".join(lines), metadata=error.metadata, field=error.field, call_id=error.call_id)


def written(policy: policy_pb2.Policy) -> str:
    """Write a policy as `read` reads it, with what the server knows of it as comments."""
    import yaml

    from steelyard import types

    about = (
        f"# revision {policy.revision}, {output.age(types.time(policy.update_time))}; "
        f"first by {output.actor(types.actor(policy.creator))}\n"
    )
    # One line for each text, however long, so that the column of an error can be found.
    text = yaml.safe_dump(_document(policy), sort_keys=False, allow_unicode=True, width=2**20)
    return about + text.rstrip("\n")


def _document(policy: policy_pb2.Policy) -> dict[str, Any]:
    kind = policy.target.WhichOneof("kind") or "stage"
    found: dict[str, Any] = {
        "namespace": policy.namespace,
        "name": policy.name,
        "description": policy.description,
        "models": list(policy.models),
        "target": {kind: getattr(policy.target, kind)},
        "checks": [_written_check(each) for each in policy.checks],
        "outside_checks": list(policy.outside_checks),
    }
    if policy.HasField("approvals"):
        found["approvals"] = _written_approvals(policy.approvals)
    if policy.HasField("evaluations"):
        rule = policy.evaluations
        age = {"age": output.span(rule.age_seconds)} if rule.age_seconds else {}
        found["evaluations"] = {"independent": rule.independent} | age
    return {name: value for name, value in found.items() if value or name == "evaluations"}


def _written_check(check: policy_pb2.PolicyCheck) -> dict[str, str]:
    excused = {"without_incumbent": "pass"} if check.passes_without_incumbent else {}
    return {"name": check.name, "expression": check.expression} | excused


def _written_approvals(rule: policy_pb2.ApprovalRule) -> dict[str, Any]:
    from steelyard import enums
    from steelyard.v1 import access_pb2

    found = {
        "count": rule.count,
        "roles": [enums.word(access_pb2.Role, each) for each in rule.roles],
        "groups": list(rule.groups),
        "lifetime": output.span(rule.lifetime_seconds),
    }
    return {name: value for name, value in found.items() if value}


def _required(node: Node, name: str) -> Node:
    members = node.members()
    if name not in members or members[name].value is None:
        raise node.wrong(f"has no {name}.")
    return members[name]


def _text(members: dict[str, Node], name: str) -> str:
    return members[name].text() if name in members else ""


def _texts(members: dict[str, Node], name: str) -> list[str]:
    return [each.text() for each in members[name].entries()] if name in members else []


def _target(node: Node) -> dict[str, str]:
    members = node.members(known=TARGETS)
    if len(members) != 1:
        raise node.wrong("names no single target; write {stage: production} or {alias: champion}.")
    return {name: each.text() for name, each in members.items()}


def _check(node: Node) -> dict[str, Any]:
    members = node.members(known=("name", "expression", "without_incumbent"))
    without = members.get("without_incumbent")
    if without is not None and without.value not in WITHOUT_INCUMBENT:
        raise without.wrong("is neither pass nor fail.")
    return {
        "name": _required(node, "name").text(),
        "expression": _required(node, "expression").text(),
        "passes_without_incumbent": without is not None and without.value == "pass",
    }


def _approvals(node: Node) -> dict[str, Any]:
    from steelyard import enums
    from steelyard.errors import InvalidArgument
    from steelyard.v1 import access_pb2

    members = node.members(known=("count", "roles", "groups", "lifetime"))
    roles = []
    for each in members["roles"].entries() if "roles" in members else ():
        try:
            roles.append(enums.number(access_pb2.Role, each.text()))
        except InvalidArgument as error:
            raise each.wrong(f"is no role: {error}") from None
    return {
        "count": _required(node, "count").whole(),
        "roles": roles,
        "groups": _texts(members, "groups"),
        "lifetime_seconds": _seconds(members, "lifetime"),
    }


def _evaluations(node: Node) -> dict[str, Any]:
    members = node.members(known=("independent", "age"))
    return {
        "independent": "independent" in members and members["independent"].truth(),
        "age_seconds": _seconds(members, "age"),
    }


def _seconds(members: dict[str, Node], name: str) -> int:
    if name not in members:
        return 0
    try:
        return values.seconds(members[name].text(), option=name)
    except typer.BadParameter as error:
        raise members[name].wrong(f"is wrong: {error.message}") from None


def _expression(field: str, policy: dict[str, Any]) -> str:
    for place, check in enumerate(policy["checks"]):
        if field == f"policy.checks[{place}].expression":
            return str(check["expression"])
    return ""


def _pointed(expression: str, *, column: int) -> list[str]:
    """Return the line of an expression that has a column, counted from 1 over all, with a mark below."""
    if not column:
        return []
    before, line = expression[: column - 1].rpartition("\n")[2], expression.splitlines()
    number = expression[: column - 1].count("\n")
    return [f"  {line[number] if number < len(line) else ''}", f"  {' ' * len(before)}^"]

"""``push -f version.yaml``, ``--metrics`` and ``--params``: what a push says, in files.

The keys of a version file are the names of the arguments of `Client.push`, beside `aliases`, and those of
its entries the fields of the values that they are made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.cli import documents
from steelyard.cli.documents import Node

if TYPE_CHECKING:
    from steelyard import Client, Dataset, Parent

Parameter = str | int | float | bool


def read(path: Path, *, client: Client) -> dict[str, Any]:
    """Return the arguments of `Client.push` that the version file at *path* holds.

    Args:
        client: finds the versions that parents are given by.

    Raises:
        InvalidArgument: a key is not known, or a value is not what its key takes.
        FileUnreadable: the file cannot be read, or a dataset that it names by its path.
    """
    readers = _readers(path.parent, client=client)
    members = documents.read(path).members(known=tuple(readers))
    found = {name: readers[name](node) for name, node in members.items() if node.value is not None}
    return found | {"alias": found.pop("aliases", [])}


def metrics(path: Path) -> dict[str, float]:
    """Return the metrics of a file; one inside others is named by all their names, joined by dots."""
    return _metrics(documents.read(path))


def parameters(path: Path) -> dict[str, Parameter]:
    """Return the parameters of a file, named as metrics are; a list is kept as the text of its JSON."""
    return _parameters(documents.read(path))


def _readers(directory: Path, *, client: Client) -> dict[str, Callable[[Node], Any]]:
    import steelyard

    return {
        "description": Node.text,
        "semantic_version": Node.text,
        "idempotency_key": Node.text,
        "reason": Node.text,
        "labels": _texts,
        "roles": _texts,
        "aliases": lambda node: [node.value] if isinstance(node.value, str) else _list(node, Node.text),
        "metrics": _metrics,
        "parameters": _parameters,
        "datasets": lambda node: _list(node, lambda each: _dataset(each, directory)),
        "parents": lambda node: _list(node, lambda each: _parent(each, client)),
        "references": lambda node: _list(node, lambda each: _value(steelyard.Reference, each)),
        "source": lambda node: _value(steelyard.Source, node),
        "framework": lambda node: _value(steelyard.Framework, node),
        "schema": lambda node: _value(steelyard.Schema, node),
    }


def _list(node: Node, reader: Callable[[Node], Any]) -> list[Any]:
    return [reader(each) for each in node.entries()]


def _texts(node: Node) -> dict[str, str]:
    return {name: each.text() for name, each in node.members().items()}


def _metrics(node: Node) -> dict[str, float]:
    return {name: each.number() for name, each in node.leaves().items()}


def _parameters(node: Node) -> dict[str, Parameter]:
    return {name: _parameter(each) for name, each in node.leaves().items()}


def _parameter(node: Node) -> Parameter:
    value = node.plain()
    if value is None or isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    parameter: Parameter = value
    return parameter


def _dataset(node: Node, directory: Path) -> Dataset:
    import steelyard

    members = node.members()
    if "path" not in members:
        dataset: Dataset = _value(steelyard.Dataset, node)
        return dataset
    known = {name: each.text() for name, each in node.members(known=("path", "role", "name")).items()}
    return steelyard.Dataset.from_path(directory / known.pop("path"), **known)


def _parent(node: Node, client: Client) -> Parent:
    import steelyard

    if "version" not in node.members():
        stated: Parent = _value(steelyard.Parent, node)
        return stated
    members = {name: each.text() for name, each in node.members(known=("version", "relation")).items()}
    return parent(client, members["version"], members.get("relation", ""))


def parent(client: Client, ref: str, relation: str) -> Parent:
    """Return the parent that *ref* names, by its digest.

    Raises:
        NotFound: there is no such version.
    """
    import steelyard

    version = client.get(ref)
    return steelyard.Parent(relation=relation, digest=version.digest, uri=f"{version.model}:{version.number}")


def _value(kind: Callable[..., Any], node: Node) -> Any:
    """Make a value of the client's, whose fields are the members of *node*."""
    import steelyard

    readers: Mapping[str, Callable[[Node], Any]] = {
        "str": Node.text,
        "int": Node.whole,
        "bool": Node.truth,
        "bool | None": Node.truth,
        "tuple[int, ...]": lambda each: tuple(_list(each, Node.whole)),
        "tuple[SchemaField, ...]": lambda each: tuple(
            _list(each, lambda field: _value(steelyard.SchemaField, field))
        ),
    }
    stated: Any = kind
    types = {field.name: str(field.type) for field in fields(stated)}
    members = node.members(known=tuple(types))
    for field in fields(stated):
        if field.default is MISSING and field.name not in members:
            raise node.wrong(f"has no {field.name}.")
    return kind(**{name: readers[types[name]](each) for name, each in members.items()})

"""A bank: persons and a job with roles on `risk`, where a policy protects production."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path

import steelyard
from steelyard import Dataset
from tests.cli.shell import Shell
from tests.client.trees import write_tree
from tests.servers import ServerProcess

POLICY = """\
name: careful
models: ["fraud-*"]
target: {stage: production}
checks:
  - name: no-worse
    expression: better("precision@holdout", 0.0)
    without_incumbent: pass
outside_checks: [bias]
approvals:
  count: 1
  roles: [approver]
  lifetime: 7d
evaluations:
  independent: true
"""
ROLES = {
    "user:mia": "admin",
    "user:ada": "writer",
    "user:grace": "approver",
    "user:olga": "approver",
    "user:hal": "break-glass",
    "user:vic": "viewer",
    "service:validation": "evaluator",
}
HOLDOUT = Dataset("holdout", digest=f"sha256:{hashlib.sha256(b'holdout').hexdigest()}")


@dataclass(frozen=True)
class Bank:
    """Who works at the bank.

    Args:
        tokens: by the name of the principal, without its kind.
    """

    address: str
    tokens: dict[str, str]

    def shell(self, name: str, directory: Path) -> Shell:
        """Run commands as somebody, in a directory."""
        variables = {"STEELYARD_SERVER": self.address, "STEELYARD_NAMESPACE": "risk"}
        return Shell(directory, variables | {"STEELYARD_TOKEN": self.tokens[name]})

    def client(self, name: str) -> steelyard.Client:
        """Call as somebody."""
        return steelyard.Client(self.address, namespace="risk", token=self.tokens[name])

    def model(self, directory: Path, *precisions: float, prefix: str = "fraud") -> str:
        """Make a model with a version of each precision; return its short name."""
        name = f"{prefix}-{uuid.uuid4().hex[:12]}"
        with self.client("ada") as ada, self.client("validation") as validation:
            ada.models.create(name, metric_directions={"precision": "higher-is-better"})
            for precision in precisions:
                content = {"weights.bin": f"{name} {uuid.uuid4()}".encode()}
                made = ada.push(name, write_tree(directory / uuid.uuid4().hex, content), capture=False)
                measured = {"precision@holdout": precision}
                validation.evaluations.record(made.version, measured, datasets=[HOLDOUT])
        return name


def opened(server: ServerProcess) -> Bank:
    """Give everybody a token and a role, in a namespace without policies."""
    first = server.first_token()
    with steelyard.Client(server.address, token=first) as admin:
        admin.namespaces.create("risk")
        tokens = {}
        for principal, role in ROLES.items():
            tokens[principal.partition(":")[2]] = admin.access.create_token(principal).secret
            admin.access.grant(principal, role, "risk")
    return Bank(server.address, tokens)

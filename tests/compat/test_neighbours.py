"""The client shares a process with the packages that are most particular about protobuf.

Each case is a process of its own, for an import that fails half way leaves its descriptors behind.
"""

import subprocess
import sys
from importlib.metadata import version

import pytest

CLIENT = "from steelyard.v1 import model_pb2, version_service_pb2_grpc; import steelyard; steelyard.Client"
NEIGHBOURS = {
    "mlflow-skinny": "import mlflow; from mlflow.protos import model_registry_pb2",
    "kfp": "import kfp; from kfp.pipeline_spec import pipeline_spec_pb2",
    "tritonclient": "import tritonclient.grpc; from tritonclient.grpc import service_pb2",
}
ROUND_TRIP = """
sent = model_pb2.Model(name="risk/fraud")
assert model_pb2.Model.FromString(sent.SerializeToString()) == sent
"""


def run(*statements: str) -> None:
    command = [sys.executable, "-c", "\n".join(statements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("order", ["client first", "client last"])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_the_client_loads_beside_a_neighbour_in_either_order(neighbour: str, order: str) -> None:
    imports = [CLIENT, NEIGHBOURS[neighbour]]
    run(*(imports if order == "client first" else reversed(imports)), ROUND_TRIP)


def test_the_client_loads_beside_all_neighbours_at_once() -> None:
    run(*NEIGHBOURS.values(), CLIENT, ROUND_TRIP)


def test_the_environment_holds_the_older_protobuf() -> None:
    assert version("protobuf").startswith("6."), "with protobuf 7 here, nothing would be shown"

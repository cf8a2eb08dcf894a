"""A process that used the client forks, and its children use it too, as prefork servers do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.trees import MODEL, tree_of, write_tree
from tests.servers import ServerProcess

SECONDS = 60

# Each process exits with 0 only when all its calls and all its children went well.
SCRIPT = """
import os, sys
from pathlib import Path
import steelyard

address, root = sys.argv[1], Path(sys.argv[2])
client = steelyard.Client(address, namespace=sys.argv[3])
client.push("fraud", root / "model", alias="champion")

def work(name, depth):
    assert client.get("fraud@champion").number == 1
    client.pull("fraud", root / name)
    client.models.create(name)
    client.push(name, root / "model")
    if depth:
        spawn(name, depth - 1)
        assert client.models.get(name).latest_number == 1

def spawn(name, depth):
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            try:
                work(f"{name}{number}", depth)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0, "a child failed"

BODY
print(sorted(model.name.partition("/")[2] for model in client.models.list()))
"""
BODIES = {
    "children": "spawn('c', 0)",
    "grandchildren": "spawn('c', 1)",
    "after a transfer of the child": "spawn('c', 0); work('after', 0)",
    "from a thread": """
import threading
thread = threading.Thread(target=spawn, args=("c", 0))
thread.start()
thread.join()
""",
    "in a pool": """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(len, [client.get("fraud").model]) == [len(client.get("fraud").model)]
    pool.starmap(work, [("p0", 0), ("p1", 0)])
""",
}
EXPECTED = {
    "children": ["c0", "c1", "fraud"],
    "grandchildren": ["c0", "c00", "c01", "c1", "c10", "c11", "fraud"],
    "after a transfer of the child": ["after", "c0", "c1", "fraud"],
    "from a thread": ["c0", "c1", "fraud"],
    "in a pool": ["fraud", "p0", "p1"],
}


def run_in_a_group(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python; end it with all its children when it takes too long."""
    command = [sys.executable, *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.parametrize("kind", BODIES)
def test_children_of_a_process_that_used_the_client_use_it_too(
    shared: ServerProcess, tmp_path: Path, kind: str
) -> None:
    write_tree(tmp_path / "model", MODEL)
    namespace = f"fork-{kind.replace(' ', '-')}"
    script = f"import steelyard; steelyard.Client({shared.address!r}).namespaces.create({namespace!r})"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=SECONDS)
    done = run_in_a_group(
        "-c", SCRIPT.replace("BODY", BODIES[kind]), shared.address, str(tmp_path), namespace
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(EXPECTED[kind])
    assert "fork" not in done.stderr.lower(), done.stderr
    for name in EXPECTED[kind]:
        if name != "fraud":
            assert tree_of(tmp_path / name) == MODEL

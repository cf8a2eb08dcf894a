"""The structure that docs/architecture.md draws holds in every file, and each rule notices a break."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "src" / "steelyard_server"
CLIENT = ROOT / "clients" / "python" / "steelyard"
FILES = sorted(
    path
    for path in [*SERVER.rglob("*.py"), *CLIENT.rglob("*.py")]
    if not path.is_relative_to(CLIENT / "v1") and path != CLIENT / "reasons.py"  # generated
)
# Size is asked of what is not shipped too.
SIZED = FILES + sorted(
    path for folder in ("tests", "tools", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")
)
MODULE_LINES_MAXIMUM = 500
FUNCTION_LINES_MAXIMUM = 60

# What each part of the server may import of the others; a part is a folder or a module at the top.
MAY_IMPORT: dict[str, set[str]] = {
    "error_branches": set(),
    "errors": {"error_branches"},
    "login_errors": {"errors"},
    "delivery_errors": {"errors"},
    "limits": set(),
    "config": set(),
    "issuers": {"config"},
    "directory": set(),
    "db": {"errors", "limits"},
    "blobs": {"errors", "limits"},
    "history": {"errors", "limits", "db"},
    "core": {"errors", "delivery_errors", "limits", "db", "blobs", "history"},
    "maintenance": {"errors", "limits", "db", "blobs", "history", "core"},
    "backups": {"errors", "limits", "db", "blobs", "history", "core", "maintenance", "directory"},
    "api": {
        "errors",
        "login_errors",
        "limits",
        "issuers",
        "db",
        "blobs",
        "history",
        "core",
        "maintenance",
        "backups",
    },
    "services": {"db", "blobs", "maintenance", "backups", "api"},
    "server": {
        "errors",
        "limits",
        "db",
        "blobs",
        "history",
        "core",
        "maintenance",
        "backups",
        "api",
        "services",
        "config",
        "issuers",
        "directory",
    },
    "__main__": {"errors", "db", "blobs", "api", "config", "directory", "server"},
    "restore": {"errors", "backups", "history", "config", "directory", "db"},
}
# gRPC and messages are known at the edge only; limits.py reads the options of one proto file.
KNOWS_GRPC = {"api", "services", "server"}
KNOWS_MESSAGES = {"api", "services", "limits"}
GRPC_PACKAGES = {"grpc", "grpc_health", "grpc_reflection", "grpc_status"}
MESSAGE_PACKAGES = {"google", "steelyard"}
# What begins or ends a transaction, or opens a way around `Database`.
TRANSACTION_METHODS = {"commit", "rollback", "connect", "begin_nested", "savepoint"}
TRANSACTION_NAMES = {
    "Transaction", "Session", "AsyncSession", "sessionmaker", "create_engine", "create_async_engine"
}  # fmt: skip
TRANSACTION_WORDS = {"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"}
# What a module must not make while it is imported: engines, settings, threads, locks, servers.
STATE = TRANSACTION_NAMES | {
    "open_database", "connect", "Config", "load", "getenv", "Lock", "RLock", "Semaphore", "Event", "Queue",
    "Thread", "ThreadPoolExecutor", "ProcessPoolExecutor", "Guard", "Memo", "Metrics", "LocalStore", "server",
    "insecure_channel", "secure_channel", "Client", "open", "getLogger", "get_logger", "configure",
}  # fmt: skip
# A logger of the standard library is a name to look handlers up by, not one of our parts.
STATELESS = {"logging.getLogger"}

Rule = Callable[[Path, ast.Module], Iterator[str]]


def test_every_file_of_server_and_client_is_looked_at() -> None:
    parts = {part_of(path) for path in FILES if path.is_relative_to(SERVER)}

    assert set(MAY_IMPORT) <= parts
    assert CLIENT / "wire.py" in FILES


def part_of(path: Path) -> str:
    """Return the folder of a server's file, or its module when it lies at the top."""
    return path.relative_to(SERVER).parts[0].removesuffix(".py")


def imports(path: Path, tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """List every import with its absolute name, also those inside functions and for types only."""
    root = SERVER.parent if path.is_relative_to(SERVER) else CLIENT.parent
    package = path.relative_to(root).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node, f"{name}.{alias.name}") for alias in node.names)


def direction(path: Path, tree: ast.Module) -> Iterator[str]:
    """Imports go down only."""
    if not path.is_relative_to(SERVER) or path == SERVER / "__init__.py":
        return
    part = part_of(path)
    for node, name in imports(path, tree):
        package, _, rest = name.partition(".")
        other = rest.split(".")[0]
        if package == SERVER.name and other not in {part, *MAY_IMPORT[part]}:
            yield f"{node.lineno}: {part} must not import {name}"


def edge(path: Path, tree: ast.Module) -> Iterator[str]:
    """Only the edge knows gRPC and messages."""
    if not path.is_relative_to(SERVER):
        return
    part = part_of(path)
    for node, name in imports(path, tree):
        package = name.split(".")[0]
        if package in GRPC_PACKAGES and part not in KNOWS_GRPC:
            yield f"{node.lineno}: {part} must not know gRPC, and imports {name}"
        if package in MESSAGE_PACKAGES and part not in KNOWS_MESSAGES:
            yield f"{node.lineno}: {part} must not know messages, and imports {name}"


def transactions(path: Path, tree: ast.Module) -> Iterator[str]:
    """Only `db` begins and ends transactions."""
    if not path.is_relative_to(SERVER) or part_of(path) == "db":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.split(".")[-1] in TRANSACTION_METHODS | TRANSACTION_NAMES:
                yield f"{node.lineno}: {name}(…) belongs to db"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.replace(";", " ").split(maxsplit=1)
            if words and words[0] in TRANSACTION_WORDS:
                yield f"{node.lineno}: the SQL {node.value!r} belongs to db"


def client(path: Path, tree: ast.Module) -> Iterator[str]:
    """The client works without the server; only the command `serve` looks for it, when it runs."""
    if not path.is_relative_to(CLIENT):
        return
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node, name in imports(path, tree):
        if name.split(".")[0] != SERVER.name:
            continue
        if path != CLIENT / "cli" / "serve.py":
            yield f"{node.lineno}: the client must not import {name}"
        elif id(node) not in lazy:
            yield f"{node.lineno}: {name} may be imported inside the command only"


@cache
def dependencies(project: Path) -> frozenset[str]:
    """Return the names of what a distribution needs, also what only some users of it do."""
    about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    optional = about.get("optional-dependencies", {}).values()
    stated = [*about["dependencies"], *(each for group in optional for each in group)]
    return frozenset(normalized(re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0]) for each in stated)


@cache
def installed() -> Mapping[str, list[str]]:
    """Return the distributions that each importable package comes from."""
    return packages_distributions()


def normalized(distribution: str) -> str:
    """Write the name of a distribution as all of them are compared, after PEP 503."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def declared(path: Path, tree: ast.Module) -> Iterator[str]:
    """What is imported comes with Python or with a dependency that is stated."""
    own = SERVER if path.is_relative_to(SERVER) else CLIENT
    project = (ROOT if own == SERVER else CLIENT.parent) / "pyproject.toml"
    for node, name in imports(path, tree):
        package = name.split(".")[0]
        if package in {*sys.stdlib_module_names, SERVER.name, own.name}:
            continue
        # An editable install lists no packages; ours are named as their distribution.
        owners = {normalized(each) for each in installed().get(package, (package,))}
        if not owners & dependencies(project):
            yield f"{node.lineno}: {name} is of no dependency in {project.relative_to(ROOT)}"


def sizes(_: Path, tree: ast.Module) -> Iterator[str]:
    """Modules can be read in one go, and functions, their docstrings aside, at a glance."""
    lines = max((node.end_lineno or 0 for node in tree.body), default=0)
    if lines > MODULE_LINES_MAXIMUM:
        yield f"1: the module has {lines} lines; at most {MODULE_LINES_MAXIMUM} are wanted"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)
            if length > FUNCTION_LINES_MAXIMUM:
                yield f"{node.lineno}: {node.name} has {length} lines; at most {FUNCTION_LINES_MAXIMUM}"


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a docstring."""
    if ast.get_docstring(node) is None:
        return 0
    return (node.body[0].end_lineno or 0) - node.body[0].lineno + 1


def state(path: Path, tree: ast.Module) -> Iterator[str]:
    """Importing a module makes no engine, settings, thread or lock, and nothing changes globals later."""
    if path == SERVER / "db" / "migrations" / "env.py":  # a script that Alembic runs
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield f"{node.lineno}: `global {', '.join(node.names)}` is state of a module"
    for node in at_import(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("environ"):
            yield f"{node.lineno}: the environment is read while the module is imported"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.endswith("environ.get"):
                yield f"{node.lineno}: the environment is read while the module is imported"
            if called.split(".")[-1] in STATE and called not in STATELESS:
                yield f"{node.lineno}: {called}(…) is made while the module is imported"


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk over what runs when the module is imported: all but the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield node
        yield from at_import(node)


RULES: list[Rule] = [direction, edge, transactions, client, declared, sizes, state]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_file_breaks_the_rule(rule: Rule) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{violation}"
        for path in (SIZED if rule is sizes else FILES)
        for violation in rule(path, ast.parse(path.read_text(encoding="utf-8")))
    ]

    assert not found, "\n".join(["", *found])


BREAKS: list[tuple[Rule, Path, str]] = [
    (direction, SERVER / "core" / "models.py", "from steelyard_server.api import convert"),
    (direction, SERVER / "core" / "models.py", "from ..api import convert"),
    (direction, SERVER / "core" / "models.py", "from steelyard_server import config"),
    (direction, SERVER / "db" / "tables.py", "if TYPE_CHECKING:\n    from steelyard_server import core"),
    (direction, SERVER / "history" / "events.py", "import steelyard_server.core.models"),
    (direction, SERVER / "blobs" / "local.py", "from steelyard_server.db.database import Database"),
    (direction, SERVER / "errors.py", "from .limits import LIMITS"),
    (direction, SERVER / "api" / "guard.py", "def late():\n    from steelyard_server import server"),
    (edge, SERVER / "core" / "models.py", "import grpc.aio"),
    (edge, SERVER / "core" / "models.py", "from steelyard.v1 import model_pb2"),
    (edge, SERVER / "core" / "models.py", "from google.protobuf.message import Message"),
    (edge, SERVER / "db" / "work.py", "from grpc import StatusCode"),
    (edge, SERVER / "errors.py", "from grpc import StatusCode"),
    (transactions, SERVER / "core" / "models.py", "def create(tx):\n    tx._connection.commit()"),
    (transactions, SERVER / "core" / "models.py", "def create(tx):\n    tx.execute('SAVEPOINT a')"),
    (transactions, SERVER / "api" / "transact.py", "tx = Transaction(connection, statements)"),
    (transactions, SERVER / "server.py", "connection = sqlite3.connect('registry.db')"),
    (client, CLIENT / "push.py", "def push():\n    from steelyard_server.core import manifest"),
    (client, CLIENT / "cli" / "serve.py", "from steelyard_server import __main__"),
    (declared, SERVER / "core" / "models.py", "import numpy"),
    (declared, SERVER / "core" / "models.py", "def late():\n    from pytest import fixture"),
    (declared, CLIENT / "push.py", "import orjson"),
    (sizes, SERVER / "core" / "models.py", "pass\n" * 501),
    (sizes, CLIENT / "push.py", "def push():\n" + "    pass\n" * 60),
    (sizes, SERVER / "core" / "models.py", "class A:\n    async def b(self):\n" + "        pass\n" * 60),
    (state, SERVER / "db" / "database.py", "engine = create_engine('sqlite://')"),
    (state, SERVER / "config.py", "CONFIG = load({}, environment={})"),
    (state, SERVER / "config.py", "HOME = os.environ['HOME']"),
    (state, SERVER / "config.py", "if os.environ.get('HOME'):\n    pass"),
    (state, SERVER / "api" / "memo.py", "class Memo:\n    lock = threading.Lock()"),
    (state, SERVER / "api" / "memo.py", "def fill():\n    global seen\n    seen = 1"),
]  # fmt: skip
KEPT: list[tuple[Rule, Path, str]] = [
    (direction, SERVER / "api" / "transact.py", "from steelyard_server.core import models"),
    (direction, SERVER / "core" / "models.py", "from . import names"),
    (edge, SERVER / "api" / "guard.py", "import grpc"),
    (
        transactions,
        SERVER / "core" / "models.py",
        "def create(tx: Transaction) -> None:\n    'Begin a model.'",
    ),
    (transactions, SERVER / "db" / "sqlite_writer.py", "connection.execute('COMMIT')"),
    (client, CLIENT / "cli" / "serve.py", "def serve():\n    from steelyard_server import __main__"),
    (declared, SERVER / "db" / "postgresql.py", "import psycopg\nimport os.path\nfrom . import work"),
    (declared, CLIENT / "push.py", "from google.protobuf import message\nfrom steelyard import content"),
    (sizes, CLIENT / "push.py", "def push():\n" + "    pass\n" * 59),
    (state, SERVER / "db" / "database.py", "def start():\n    return create_engine('sqlite://')"),
]


@pytest.mark.parametrize(("rule", "path", "source"), BREAKS, ids=[
    f"{rule.__name__} {index}" for index, (rule, _, _) in enumerate(BREAKS)
])  # fmt: skip
def test_the_rule_notices_a_break(rule: Rule, path: Path, source: str) -> None:
    assert list(rule(path, ast.parse(source)))


@pytest.mark.parametrize(("rule", "path", "source"), KEPT, ids=[
    f"{rule.__name__} {index}" for index, (rule, _, _) in enumerate(KEPT)
])  # fmt: skip
def test_the_rule_lets_pass_what_keeps_it(rule: Rule, path: Path, source: str) -> None:
    assert not list(rule(path, ast.parse(source)))

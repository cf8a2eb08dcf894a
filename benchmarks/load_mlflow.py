"""A process that calls MLflow from several threads: ``python -m benchmarks.load_mlflow JOB``."""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import mlflow_server as mlflow
from benchmarks.load import WARM_SECONDS, summary

Call = Callable[[http.client.HTTPConnection, Iterator[int]], Any]
# With many versions in a model, moving an alias takes seconds.
CALL_SECONDS = 300


def load(*, address: str, call: str, callers: int, seconds: float) -> Any:
    """Call for *seconds* over connections that stay open; return the summary."""
    connections = [http.client.HTTPConnection(address, timeout=CALL_SECONDS) for _ in range(callers)]
    numbers = itertools.count()
    warm = _spend(connections, _CALLS[call], numbers, seconds=WARM_SECONDS)
    begin = time.perf_counter()
    latencies = _spend(connections, _CALLS[call], numbers, seconds=seconds)
    return summary(latencies, warm_calls=len(warm), seconds=time.perf_counter() - begin)


def _get(connection: http.client.HTTPConnection, _: Iterator[int]) -> Any:
    query = f"registered-models/alias?name={mlflow.MODEL}&alias={mlflow.ALIAS}"
    return mlflow.call(connection, "GET", query)


def _create(connection: http.client.HTTPConnection, _: Iterator[int]) -> Any:
    return mlflow.call(connection, "POST", "model-versions/create", mlflow.new_version())


def _alias(connection: http.client.HTTPConnection, numbers: Iterator[int]) -> Any:
    number = 1 + next(numbers) % mlflow.SMALL_VERSIONS
    return mlflow.call(connection, "POST", "registered-models/alias", mlflow.moved_alias(number))


_CALLS = {"get": _get, "create": _create, "alias": _alias}


def _spend(
    connections: list[http.client.HTTPConnection], make: Call, numbers: Iterator[int], *, seconds: float
) -> list[float]:
    end = time.perf_counter() + seconds

    def caller(connection: http.client.HTTPConnection) -> list[float]:
        # The server closes what was idle while others still waited for their last answer.
        connection.close()
        latencies = []
        while (begin := time.perf_counter()) < end:
            make(connection, numbers)
            latencies.append(time.perf_counter() - begin)
        return latencies

    with ThreadPoolExecutor(len(connections)) as threads:
        return list(itertools.chain.from_iterable(threads.map(caller, connections)))


if __name__ == "__main__":
    print(json.dumps(load(**json.loads(sys.argv[1]))))

"""A process that makes unary calls from several callers: ``python -m benchmarks.load JOB``."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc.aio
import uvloop

from benchmarks import sample
from steelyard.v1 import alias_service_pb2, promotion_pb2, promotion_service_pb2, version_service_pb2

# By name: the method, what makes its requests, and the class of its answers.
CALLS: dict[str, tuple[str, Callable[..., Callable[[], bytes]], Any]] = {
    "get": (
        "/steelyard.v1.VersionService/GetVersion",
        sample.get_by_alias,
        version_service_pb2.GetVersionResponse,
    ),
    "create": (
        "/steelyard.v1.VersionService/CreateVersion",
        sample.create_version,
        version_service_pb2.CreateVersionResponse,
    ),
    "alias": (
        "/steelyard.v1.AliasService/SetAlias",
        sample.move_alias,
        alias_service_pb2.SetAliasResponse,
    ),
    "promote": (
        "/steelyard.v1.PromotionService/CreatePromotion",
        sample.promote,
        promotion_service_pb2.CreatePromotionResponse,
    ),
    "compare": (
        "/steelyard.v1.VersionService/CompareVersions",
        sample.compare_versions,
        version_service_pb2.CompareVersionsResponse,
    ),
    **{
        f"list-{name}": (
            "/steelyard.v1.VersionService/ListVersions",
            sample.list_versions(name),
            version_service_pb2.ListVersionsResponse,
        )
        for name in sample.LISTS
    },
}
WARM_SECONDS = 0.5
CALL_SECONDS = 60.0


async def load(
    *,
    address: str,
    call: str,
    model: str,
    callers: int,
    seconds: float,
    floor: bool,
    token: str = "",
    **options: Any,
) -> Any:
    """Call for *seconds* and return the summary.

    Requests and answers are raw bytes, as cheap as Python has them; one answer is parsed to be sure.

    Args:
        token: what the callers log in with, or empty.
        options: of what makes the requests.
    """
    path, requests, answer_class = CALLS[call]
    make = requests(model, **options)
    async with grpc.aio.insecure_channel(address) as channel:
        method: Any = channel.unary_unary(path)
        if token:
            method = partial(method, metadata=(("authorization", f"Bearer {token}"),))
        warm = await _spend(method, make, callers=callers, seconds=WARM_SECONDS)
        begin = time.perf_counter()
        latencies = await _spend(method, make, callers=callers, seconds=seconds)
        elapsed = time.perf_counter() - begin
        answer = answer_class.FromString(await method(make()))
    assert floor or answer.sequence > 0
    assert call != "promote" or answer.promotion.state == promotion_pb2.PROMOTION_STATE_APPLIED
    return summary(latencies, warm_calls=len(warm) + 1, seconds=elapsed)


def summary(latencies: list[float], *, warm_calls: int, seconds: float) -> dict[str, float]:
    """Return calls per second, median and 99th percentile, and all calls that the server was asked."""
    cuts = statistics.quantiles([*latencies, latencies[-1]], n=100, method="inclusive")
    return {
        "calls_per_second": len(latencies) / seconds,
        "p50_ms": cuts[49] * 1000,
        "p99_ms": cuts[98] * 1000,
        "calls": len(latencies) + warm_calls,
    }


async def _spend(method: Any, make: Callable[[], bytes], *, callers: int, seconds: float) -> list[float]:
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while (begin := time.perf_counter()) < end:
            await method(make(), timeout=CALL_SECONDS)
            latencies.append(time.perf_counter() - begin)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return latencies


if __name__ == "__main__":
    print(json.dumps(uvloop.run(load(**json.loads(sys.argv[1])))))

"""What operators and machines ask at the server's root: alive, ready, metrics, documents."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import HTMLResponse, Response

from services.api.dependencies import InParts
from services.api.docs_page import POLICY, page
from services.api.lookups import AWAY
from services.api.problems import Problem

router = APIRouter(tags=["operations"])

READY_WITHIN = 5.0  # seconds


class Metrics:
    """The API's own numbers. Labels are routes and statuses, never tenants."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "septet_http_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "septet_http_request_seconds",
            "Time from a request to the end of its answer",
            ["method", "route"],
            registry=self.registry,
        )
        self.pending = Gauge(
            "septet_pending_commands",
            "Commands sent whose outcome is not known to be there",
            registry=self.registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


async def metrics_of(request: Request) -> Metrics:
    """Return the running API's metrics."""
    metrics: Metrics = request.app.state.metrics
    return metrics


InMetrics = Annotated[Metrics, Depends(metrics_of)]


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz")
async def ready(parts: InParts) -> dict[str, Any]:
    """Everything that requests need answers; else a 503 that names what does not."""
    try:
        async with asyncio.timeout(READY_WITHIN):
            answers = await parts.ready()
    except TimeoutError:
        answers = {"readiness": f"no answer within {READY_WITHIN:g} seconds"}
    return readiness(answers)


def readiness(answers: Mapping[str, str]) -> dict[str, Any]:
    """Return that all is well. Raises the problem that names what does not answer."""
    checks = {name: why or "ok" for name, why in answers.items()}
    silent = [f"{name}: {why}" for name, why in answers.items() if why]
    if silent:
        raise Problem("unavailable", "; ".join(silent), {"checks": checks})
    return {"status": "ready", "checks": checks}


@router.get("/metrics", response_class=Response)
async def metrics(parts: InParts, numbers: InMetrics) -> Response:
    """Numbers for Prometheus."""
    try:
        numbers.pending.set(await asyncio.to_thread(parts.pending.count_open))
    except AWAY:
        numbers.pending.set(float("nan"))
    return Response(numbers.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/asyncapi.json")
async def asyncapi(parts: InParts) -> dict[str, Any]:
    """What is said on the topics, as AsyncAPI."""
    return parts.asyncapi()


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """Return the page for people."""
    headers = {"Content-Security-Policy": POLICY}
    return HTMLResponse(page(request.app.openapi()), headers=headers)

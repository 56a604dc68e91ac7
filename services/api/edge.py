"""What happens to every request and answer, before and after all else."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.limits import check_headers
from services.api.operations import Metrics
from services.api.problems import INTERNAL, Problem, answer

logger = logging.getLogger(__name__)

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
UNKNOWN = "unknown"  # one label for all addresses that are none, as anybody can make up more


class Edge:
    """Checks headers, adds ours, counts; what nobody expected becomes a 500 without a trace."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            check_headers(scope["headers"])
            await self.app(scope, receive, send_on)
        except Problem as problem:
            await answer(problem)(scope, receive, send_on)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception:
            logger.exception("a request failed", extra={"route": route_of(scope)})
            if status:
                raise  # half an answer is out: cutting the connection is the only way to say so
            await answer(Problem("internal_error", INTERNAL))(scope, receive, send_on)
        finally:
            spent = time.perf_counter() - started
            self.metrics.observe(method_of(scope), route_of(scope), status, spent)


METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})


def method_of(scope: Mapping[str, Any]) -> str:
    """Return the method, or one word for all that are none."""
    method: str = scope["method"]
    return method if method in METHODS else UNKNOWN


def route_of(scope: Mapping[str, Any]) -> str:
    """Return the route's template, which holds no ids."""
    return str(getattr(scope.get("route"), "path", UNKNOWN))

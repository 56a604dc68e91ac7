"""An API that answers from a table, and a command line that talks to it."""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from services.cli import client
from services.cli.main import app

Answer = Callable[[httpx.Request], httpx.Response]


@dataclass
class Api:
    """Answers by method and path, 404 to all else. Remembers what it was asked."""

    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)

    def on(self, method: str, path: str, *bodies: Any, status: int = 200) -> None:
        """Answer with each of the bodies, or fail, in turn; then as the last time again."""
        given = [self._of(body, status) for body in bodies]
        self.answers[method, f"/api/v1{path}"] = given

    def problem(self, method: str, path: str, status: int, code: str, **more: Any) -> None:
        detail = more.pop("detail", f"This is {code}.")
        self.on(method, path, {"code": code, "detail": detail, **more}, status=status)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        left = self.answers.get((request.method, request.url.path))
        if left is None:
            return httpx.Response(404, json={"code": "not_found", "detail": "Nothing is there."})
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer(request)

    @staticmethod
    def _of(body: Any, status: int) -> Answer:
        if isinstance(body, httpx.Response):
            return lambda _: body
        if isinstance(body, httpx.HTTPError):
            return _raising(body)
        return lambda _: httpx.Response(status, json=body)


def _raising(error: httpx.HTTPError) -> Answer:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    served = Api()
    monkeypatch.setattr(client, "transport", lambda: httpx.MockTransport(served))
    monkeypatch.setattr(client, "LOOK_EVERY", 0)
    return served


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder with no settings but a key."""
    monkeypatch.chdir(tmp_path)
    for name in ("ADMIN_TOKEN", "API_URL", "PORT", "HOST", "DATA_DIR", "DATABASE_URL"):
        monkeypatch.delenv(f"SEPTET_{name}", raising=False)
    monkeypatch.setenv("SEPTET_API_KEY", "sk_test")
    return tmp_path


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def septet() -> Callable[..., Result]:
    def run(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False, **options)

    return run


def error_of(result: Result) -> dict[str, Any]:
    """Return the error that was printed as JSON."""
    found: dict[str, Any] = json.loads(result.stderr)["error"]
    return found

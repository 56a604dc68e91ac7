"""A language model on this machine, started once for all tests of this folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.engines.processes import Server, free_port

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".llm" / "bin" / "python"
MODEL = "smollm2"
SHOWN = pytest.StashKey[str]()  # a run, an article and an image, for a person to look at


@contextmanager
def starting(folder: Path) -> Iterator[str]:
    """Give the base URL of a server that has been started and may not have loaded its model."""
    assert PYTHON.exists(), "there is no language model here: `make test-llm` installs it"
    port = free_port()
    serve = Path(__file__).with_name("serve.py")
    server = Server("llama.cpp", [str(PYTHON), str(serve), str(port)], folder / "llama.log")
    try:
        server.wait(lambda: _listens(port), within=60)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.end()


def _listens(port: int) -> bool:
    """Tell whether it answers at all, be it that it is still loading."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code in (200, 503)
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server that has its model."""
    with starting(tmp_path_factory.mktemp("llama")) as url:
        yield url


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show what came of it: no test can tell whether it reads well."""
    if shown := config.stash.get(SHOWN, None):
        terminalreporter.section("a run with the language model")
        terminalreporter.write_line(shown)

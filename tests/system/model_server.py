"""A provider for tests of real processes: it answers well until it is told to misbehave.

Septet's processes ask it over a port, from a thread of its own, while the test says how to behave
and counts what was asked.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.engines.processes import free_port
from tests.providers.author import reply
from tests.providers.server import completion


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered instead of a good answer; the body of a 200 is the model's text."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


Behave = Callable[[str], Reply | None]


def well(prompt: str) -> None:
    """Behave."""
    del prompt


@dataclass
class ModelServer:
    """`behave` is asked first about each prompt; with None from it the answer is a good one.

    `asked` are the prompts with the status of their reply, `tokens` what the good ones were told to
    have taken.
    """

    behave: Behave = well
    asked: list[tuple[str, int]] = field(default_factory=list)
    tokens: int = 0
    port: int = field(default_factory=free_port)
    _server: ThreadingHTTPServer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def is_up(self) -> bool:
        return self._server is not None

    def up(self) -> None:
        """Listen, at the same port each time."""
        self._server = server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Listen no more: who connects is refused, and who is connected gets no answer."""
        if (server := self._server) is not None:
            self._server = None
            server.shutdown()
            server.server_close()

    def forget(self) -> None:
        """Behave well again, and count anew."""
        with self._lock:
            self.behave, self.tokens = well, 0
            self.asked.clear()

    def reply(self, prompt: str) -> Reply:
        """Return what is sent. A refusal takes no tokens."""
        with self._lock:
            said = self.behave(prompt)
            if said is not None and said.status != 200:
                self.asked.append((prompt, said.status))
                return said
            text = said.body if said is not None else as_text(reply(prompt))
            took = len(prompt) // 4, len(text) // 4
            usage = dict(zip(("prompt_tokens", "completion_tokens"), took, strict=True))
            self.asked.append((prompt, 200))
            self.tokens += sum(took)
        whole = completion(text, usage=usage | {"total_tokens": sum(took)})
        return Reply(200, json.dumps(whole), said.headers if said is not None else {})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # the library's name
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not server.is_up:  # a connection that was kept open goes down with it
                    self.close_connection = True
                    return
                said = server.reply(sent["messages"][-1]["content"])
                content = said.body.encode()
                self.send_response(said.status)
                told = {"Content-Type": "application/json", "Content-Length": str(len(content))}
                for name, value in (told | dict(said.headers)).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        return Handler


@contextmanager
def serving() -> Iterator[ModelServer]:
    """Give a server that is up, and end it."""
    server = ModelServer()
    server.up()
    try:
        yield server
    finally:
        server.down()


def as_text(said: object) -> str:
    """Return what a model sends: text as it is, and all else in JSON."""
    return said if isinstance(said, str) else json.dumps(said)


def refusal(status: int, code: str, message: str, **headers: str) -> Reply:
    """Return an error as OpenAI words it; header names have underscores for hyphens."""
    body = json.dumps({"error": {"message": message, "type": code, "code": code}})
    return Reply(status, body, {name.replace("_", "-"): text for name, text in headers.items()})

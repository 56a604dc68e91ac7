"""Which addresses an account may have its AI provider asked at: those that the operator lists.

An address is read by a grammar of its own that knows less than URLs do. What clients read in
different ways (user names, backslashes, numbers that are IPv4, Unicode) is not in it, and what is
kept is the address in its one plain form.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

NONE = "none"  # an empty variable is one that is not set
LONGEST = 2000  # characters of an address
PORTS = {"https": 443, "http": 80}
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
NAME = re.compile(rf"(?=.{{1,253}}$){LABEL}(?:\.{LABEL})*")
A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")  # what clients take for IPv4 somehow
PORT = re.compile(r"[1-9][0-9]{0,4}")
HIGHEST_PORT = 65_535
PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
ADDRESS = re.compile(r"(?P<scheme>https?)://(?P<place>[^/]*)(?P<path>/.*)?", re.I | re.ASCII)
PLACE = re.compile(r"(?P<host>\[[0-9a-f:.]*\]|[^\[\]:]*)(?::(?P<port>.*))?", re.I | re.ASCII)


class NotAllowed(ValueError):
    """The address is malformed, or not on the list; the sentence says which."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one connects: `host` in lower case, an IPv6 address in its shortest form in []."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """One entry of the list; with `below` every host below the name, and not the name itself."""

    place: Place
    below: bool = False

    def admits(self, place: Place) -> bool:
        """Tell whether the place is the entry's."""
        if not self.below:
            return place == self.place
        same = (place.scheme, place.port) == (self.place.scheme, self.place.port)
        return same and place.host.endswith(f".{self.place.host}")


def allowed_hosts(text: str) -> tuple[Allowed, ...]:
    """Return the entries of a list with commas. Raises ValueError, which names the wrong one.

    An entry is a host, a host:port, *.name for all below a name, each spoken to by https; or with
    a scheme: http://127.0.0.1:8080. The word none stands for an empty list.
    """
    if text.strip().lower() == NONE:
        return ()
    return tuple(_entry(part.strip()) for part in text.split(",") if part.strip())


def checked(address: str, allowed: Iterable[Allowed]) -> str:
    """Return the address in its plain form, without a slash at its end. Raises NotAllowed."""
    if len(address) > LONGEST:
        raise NotAllowed(f"must have at most {LONGEST} characters")
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise NotAllowed("must be an address such as https://api.openai.com/v1")
    place = _place(found["scheme"].lower(), found["place"])
    path = found["path"] or ""
    if not PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise NotAllowed("may have a plain path after the host and nothing else, such as /v1")
    if not any(entry.admits(place) for entry in allowed):
        raise NotAllowed(
            f"{place} is not among the hosts that this installation allows. Its operator can add "
            "it to SEPTET_AI_ALLOWED_HOSTS"
        )
    return f"{place}{path.rstrip('/')}"


def _entry(text: str) -> Allowed:
    scheme, rest = ("https", text) if "://" not in text else text.lower().split("://", 1)
    below = rest.startswith("*.")
    try:
        place = _place(scheme, rest.removeprefix("*."))
    except NotAllowed as error:
        raise ValueError(f"{text!r} {error}") from error
    if below and (_ip(place.host) or "." not in place.host):
        raise ValueError(f"{text!r} allows more than the hosts of one domain")
    return Allowed(place, below)


def _place(scheme: str, text: str) -> Place:
    found = PLACE.fullmatch(text)
    if scheme not in PORTS:
        raise NotAllowed("must begin with https:// or http://")
    if found is None:
        raise NotAllowed("must name a host, and after it at most a port")
    host, port = found["host"].lower(), found["port"]
    if port is not None and (not PORT.fullmatch(port) or int(port) > HIGHEST_PORT):
        raise NotAllowed("must have a port between 1 and 65535, or none")
    return Place(scheme, _host(host), PORTS[scheme] if port is None else int(port))


def _host(host: str) -> str:
    if not host.isascii():
        raise NotAllowed("must have its host in ASCII; one with other letters begins with xn--")
    if address := _ip(host):
        return address
    if not NAME.fullmatch(host) or A_NUMBER.fullmatch(host):
        raise NotAllowed("must have a host name such as api.openai.com")
    return host


def _ip(host: str) -> str:
    """Return the one spelling of an IP address, "" for what is none or is spelled otherwise."""
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1]).compressed}]"
        return str(IPv4Address(host))
    except AddressValueError:
        return ""

"""The deployment files as the programs that read them see them, for the tests beside this."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import typer
import yaml

from services.cli.main import app
from services.settings import Settings

ROOT = Path(__file__).parents[2]
A_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
SECRETS = {
    "POSTGRES_PASSWORD": "a-password",
    "SEPTET_ADMIN_TOKEN": "a-token",
    "SEPTET_SECRETS_KEY": A_KEY,
}
SERVICE = re.compile(r"api|orchestrator|projector|scheduler|stage-worker-[1-7]")
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:-|:\?)([^}]*))?\})")

Tree = dict[str, Any]


class Missing(Exception):
    """A variable that compose will not go on without."""


def filled_in(text: str, given: dict[str, str]) -> str:
    """Return the text with its variables, as compose fills them in. Raises Missing."""

    def value(match: re.Match[str]) -> str:
        dollar, name, how, rest = match.groups()
        if dollar:
            return "$"
        if not given.get(name) and how == ":?":
            raise Missing(name)
        return given.get(name) or rest or ""

    return VARIABLE.sub(value, text)


def compose(**given: str) -> Tree:
    """Return docker-compose.yml as compose reads it. Raises Missing."""

    def walk(part: Any) -> Any:
        match part:
            case dict():
                return {name: walk(value) for name, value in part.items()}
            case list():
                return [walk(value) for value in part]
            case str():
                return filled_in(part, given)
        return part

    tree: Tree = walk(yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8")))
    return tree


def containers() -> dict[str, Tree]:
    """Return every container of docker-compose.yml, by name."""
    found: dict[str, Tree] = compose(**SECRETS)["services"]
    return found


def ours() -> dict[str, Tree]:
    """Return the containers of our image."""
    return {name: one for name, one in containers().items() if one["image"].startswith("septet:")}


@cache
def dockerfile() -> tuple[tuple[str, str], ...]:
    """Return the Dockerfile's instructions with their arguments, on one line each."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return tuple((line.partition(" ")[0], " ".join(line.split()[1:])) for line in lines)


def image_environment() -> dict[str, str]:
    """Return the variables that the image sets itself."""
    pairs = [pair for verb, rest in dockerfile() if verb == "ENV" for pair in rest.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def read(environment: dict[str, Any]) -> Settings:
    """Return the settings that our containers read from this environment.

    Fails when a SEPTET_ variable is none of the settings, or its value is refused.
    """
    given = {
        name[7:].lower(): str(value)
        for name, value in (image_environment() | environment).items()
        if name.startswith("SEPTET_") and value != ""
    }
    unknown = sorted(given.keys() - Settings.model_fields.keys())
    assert not unknown, f"no settings: {unknown}"
    return Settings(_env_file=None, **given)  # type: ignore[call-arg,arg-type]


def secrets_as_needed(settings: Settings, name: str) -> None:
    """Fail unless the service has the secrets that it needs, and no other."""
    is_worker = name.startswith("stage-worker-")
    has_key = bool(settings.secrets_key.get_secret_value())
    assert (settings.admin_token is not None) == (name == "api"), "a secret goes where it is needed"
    assert has_key == (name in {"api", "migrate"} or is_worker), "a secret goes where it is needed"
    assert is_worker or not settings.ai_api_key.get_secret_value(), "only workers ask a provider"


def parses(arguments: list[str]) -> str:
    """Return the command that the command line finds in these arguments. Raises when it does not
    take them."""
    group: Any = typer.main.get_command(app)
    with group.make_context("septet", list(arguments), resilient_parsing=False) as context:
        name, command, rest = group.resolve_command(context, list(arguments))
        command.make_context(name, rest, parent=context)
    return str(name)


def hosts_in(image: str) -> bool:
    """Tell whether an image's name begins with the host of a registry."""
    first, slash, _ = image.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")

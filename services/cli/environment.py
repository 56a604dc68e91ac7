"""What commands know of the place they run in: settings, tokens, and where the API is."""

import os
import secrets
import tempfile
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import httpx
from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.cli.output import Code, Failed
from services.own_files import known, known_or_made
from services.places import secrets_key_file
from services.settings import Settings

PREFIX = "SEPTET_"
ENV_FILE = Path(".env")
AN_ADDRESS = "must be an http:// or https:// address, such as http://127.0.0.1:8000"

Read = TypeVar("Read", bound=BaseSettings)


class Access(BaseSettings):
    """What only the commands that talk to the API need."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore")

    api_url: str = Field("", description="Where commands find the API; empty: HOST and PORT above")
    api_key: SecretStr = Field(SecretStr(""), description="API key that commands sign in with")

    @field_validator("api_url")
    @classmethod
    def _origin(cls, text: str) -> str:
        """Return the address without the path that every command puts after it."""
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL as error:
            raise ValueError(AN_ADDRESS) from error
        if text and (url.scheme not in {"http", "https"} or not url.host):
            raise ValueError(AN_ADDRESS)
        return text.rstrip("/").removesuffix("/api/v1")


def read_settings(**chosen: Any) -> Settings:
    """Return the settings, with what is `chosen` in place of what the environment says.

    Raises Failed, one line that names the variable.
    """
    return _read(Settings, **chosen)


def start_settings(**chosen: Any) -> Settings:
    """Return the settings of something that starts: its data folder is made, and can be used.

    Raises Failed, one line that names the variable.
    """
    settings = read_settings(**chosen)
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Failed(
            f"SEPTET_DATA_DIR: cannot write into {folder}: {error.strerror}. "
            "Set it to a folder of yours",
            Code.USAGE,
        ) from error
    return settings


def read_access() -> Access:
    """Return where the API is and the key for it. Raises Failed."""
    return _read(Access)


def require_readable(file: Path) -> None:
    """Raise Failed, one line, when the file of settings is there and is not all settings.

    Who reads it would leave such a line out with a warning, and go on without the setting.
    """
    if not file.is_file():
        return
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Failed(f"{file} is not text in UTF-8. Save it as UTF-8", Code.USAGE) from error
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}", Code.USAGE) from error
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            said = binding.original.string
            blank = said[: len(said) - len(said.lstrip())].count("\n")
            line = binding.original.line + blank
            raise Failed(f"{file}, line {line} is no setting. Write it as NAME=VALUE", Code.USAGE)


def wrong_setting(error: ValidationError) -> Failed:
    """Return the error as one line; values stay out of it, as some are secret."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    named = [
        f"{PREFIX}{str(one['loc'][0]).upper()}: {one['msg'].removeprefix('Value error, ')}"
        if one["loc"]
        else one["msg"].removeprefix("Value error, ")
        for one in found
    ]
    sentence = f"{'; '.join(named)}. Correct it in the environment or in .env"
    return Failed(" ".join(sentence.split()), Code.USAGE)


def api_url(settings: Settings, access: Access) -> str:
    """Return the API's address, as a client on this machine reaches it."""
    if access.api_url:
        return access.api_url
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def known_admin_token(settings: Settings) -> str | None:
    """Return the admin token: the setting's, else the one in the data folder, else none."""
    given = settings.admin_token.get_secret_value() if settings.admin_token else ""
    return given or known(_token_file(settings))


def admin_token(settings: Settings) -> str:
    """Return the admin token; where there is none yet, make one that only this user can read."""
    token = known_admin_token(settings)
    return token or known_or_made(_token_file(settings), lambda: secrets.token_urlsafe(32))


def secrets_of(settings: Settings) -> list[str]:
    """Return what must never be read in a log, also what lies in the data folder."""
    given = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    users = [one.partition("://")[2].rpartition("@")[0] for one in given]
    passwords = [user.partition(":")[2] for user in users]
    keys = [part.strip() for part in settings.secrets_key.get_secret_value().split(",")]
    made = (known_admin_token(settings), known(secrets_key_file(settings)))
    found = (*given, *passwords, *map(unquote, passwords), *keys, *made)
    return [one for one in found if one]


def inherited(**chosen: str) -> Mapping[str, str]:
    """Return the environment for a child: ours, with what is chosen as SEPTET_ variables."""
    ours = dict(os.environ)  # noqa: TID251  # a child gets PATH, HOME and the rest too
    return {**ours, **{f"{PREFIX}{name.upper()}": value for name, value in chosen.items()}}


def example() -> str:
    """Return `.env.example`: every variable with its default, so that a copy changes nothing."""
    head = "# Copy to .env and change what you need. These are the defaults.\n"
    fields = {**Settings.model_fields, **Access.model_fields}
    return head + "".join(_example_line(name, field) for name, field in fields.items())


def _example_line(name: str, field: FieldInfo) -> str:
    default = field.default
    text = default.get_secret_value() if isinstance(default, SecretStr) else default
    shown = "" if text is None else str(text)
    return f"\n# {field.description}\n#{PREFIX}{name.upper()}={shown}\n"


def _read(kind: type[Read], **chosen: Any) -> Read:
    require_readable(ENV_FILE)
    try:
        return kind(**chosen)
    except ValidationError as error:
        raise wrong_setting(error) from error


def _token_file(settings: Settings) -> Path:
    return settings.data_dir / "admin-token"


if __name__ == "__main__":
    Path(".env.example").write_text(example(), encoding="utf-8")

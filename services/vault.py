"""Where accounts' keys for their AI providers lie: sealed, apart from all that is published.

AES-256-GCM. A secret is sealed for its account, its id and the address that it was given for: as
a row of another account, or for another address, it does not open.
"""

import base64
import hashlib
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from projections.database import insert_new, open_engine, stamp, write, writing
from services.own_files import known_or_made
from services.own_tables import OwnTables
from services.places import secrets_key_file, vault_url
from services.settings import Settings

NONCE = 12  # bytes: what NIST SP 800-38D says for random ones, far below 2**32 seals a key
LEAST_HINTED = 20  # characters; of a shorter secret its end would tell too much
HINT = 4  # characters

metadata = sa.MetaData()
sealed_secrets = sa.Table(
    "sealed_secrets",
    metadata,
    sa.Column("secret_id", sa.Text, primary_key=True),
    sa.Column("account_id", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("hint", sa.Text, nullable=False),
    sa.Column("made_at", sa.Text, nullable=False),
    sa.Index("sealed_secrets_account", "account_id"),
)
ADD = insert_new(sealed_secrets)
SET_IT_AGAIN = "Set it again with septet account ai set."


class NoKey(Exception):
    """This process has no key to seal with: an operator has to give it one."""

    def __init__(self) -> None:
        super().__init__("the operator has to set SEPTET_SECRETS_KEY before keys can be stored")


class Unreadable(Exception):
    """A secret cannot be opened; the sentence says why, and what to do."""


class Gone(Unreadable):
    """There is no such secret of the account."""

    def __init__(self) -> None:
        super().__init__(
            f"The API key of the account's AI provider is no longer stored. {SET_IT_AGAIN}"
        )


@dataclass(frozen=True, slots=True)
class Secret:
    """Whose secret it is and what for: `address` is where it may be sent."""

    account_id: str
    secret_id: str
    address: str

    @property
    def bound(self) -> bytes:
        """What the seal is bound to."""
        parts = ("septet-secret-1", self.account_id, self.secret_id, self.address)
        return b"".join(len(part := one.encode()).to_bytes(4, "big") + part for one in parts)


class Vault(OwnTables):
    """The table of sealed secrets. All methods block.

    The first key seals, all of them open; without one nothing is sealed and nothing opens.
    """

    METADATA = metadata

    def __init__(self, engine: sa.Engine, keys: Sequence[bytes]) -> None:
        super().__init__(engine)
        self._keys: Mapping[str, AESGCM] = {_id_of(key): AESGCM(key) for key in keys}
        self._newest = _id_of(keys[0]) if keys else None

    def put(self, secret: Secret, text: str, at: datetime) -> None:
        """Seal and keep a secret under an id that is new. Raises NoKey."""
        row = {
            "secret_id": secret.secret_id,
            "account_id": secret.account_id,
            "address": secret.address,
            "hint": hint_of(text),
            "made_at": stamp(at),
            **self._sealed(secret, text),
        }
        with writing(self._engine) as tx:
            write(tx, ADD, row)

    def open(self, secret: Secret) -> str:
        """Return the secret's text. Raises Unreadable, and Gone where it is not there."""
        asked = sa.select(sealed_secrets).where(
            sealed_secrets.c.secret_id == secret.secret_id,
            sealed_secrets.c.account_id == secret.account_id,
        )
        with self._engine.connect() as tx:
            row = tx.execute(asked).first()
        if row is None:
            raise Gone
        return self._opened(secret, row)

    def hint(self, account_id: str, secret_id: str) -> str | None:
        """Return the end of the account's secret, "" of a short one, none where it is gone."""
        asked = sa.select(sealed_secrets.c.hint).where(
            sealed_secrets.c.secret_id == secret_id, sealed_secrets.c.account_id == account_id
        )
        with self._engine.connect() as tx:
            return tx.scalar(asked)

    def held(self) -> dict[str, set[str]]:
        """Return the ids of all secrets, by account."""
        found: dict[str, set[str]] = {}
        with self._engine.connect() as tx:
            for row in tx.execute(
                sa.select(sealed_secrets.c.account_id, sealed_secrets.c.secret_id)
            ):
                found.setdefault(row.account_id, set()).add(row.secret_id)
        return found

    def forget(self, account_id: str, secret_ids: Iterable[str]) -> None:
        """Delete secrets of the account; those that are not there do no harm."""
        ids = sorted(secret_ids)
        if not ids:
            return
        with writing(self._engine) as tx:
            tx.execute(
                sa.delete(sealed_secrets).where(
                    sealed_secrets.c.account_id == account_id,
                    sealed_secrets.c.secret_id.in_(ids),
                )
            )

    def seal_anew(self) -> int:
        """Seal with the newest key what older ones have sealed, and return how many those were.

        What no key of ours opens stays as it is.
        """
        old = sa.select(sealed_secrets).where(
            sealed_secrets.c.key_id != self._newest, sealed_secrets.c.key_id.in_(list(self._keys))
        )
        changed = 0
        with writing(self._engine) as tx:
            for row in tx.execute(old).all():
                secret = Secret(row.account_id, row.secret_id, row.address)
                try:
                    text = self._opened(secret, row)
                except Unreadable:
                    continue  # whoever uses it is told
                tx.execute(
                    sa.update(sealed_secrets)
                    .where(sealed_secrets.c.secret_id == row.secret_id)
                    .values(**self._sealed(secret, text))
                )
                changed += 1
        return changed

    def _sealed(self, secret: Secret, text: str) -> dict[str, str | bytes]:
        if self._newest is None:
            raise NoKey
        nonce = os.urandom(NONCE)
        sealed = self._keys[self._newest].encrypt(nonce, text.encode(), secret.bound)
        return {"key_id": self._newest, "nonce": nonce, "sealed": sealed}

    def _opened(self, secret: Secret, row: sa.Row[tuple[object, ...]]) -> str:
        key = self._keys.get(row.key_id)
        if key is None:
            raise Unreadable(
                "The API key of the account's AI provider was sealed with a key that this process "
                "does not have. The operator has to give every process the same SEPTET_SECRETS_KEY."
            )
        try:
            return key.decrypt(row.nonce, row.sealed, secret.bound).decode()
        except InvalidTag as error:
            raise Unreadable(
                "The stored API key of the account's AI provider is not as it was written, or it "
                f"was given for another address. {SET_IT_AGAIN}"
            ) from error


def hint_of(text: str) -> str:
    """Return the last characters of a secret, by which a person knows it again; "" if short."""
    return text[-HINT:] if len(text) >= LEAST_HINTED else ""


def new_key() -> str:
    """Return a key as settings hold it: 256 random bits in Base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def keys_of(settings: Settings) -> list[bytes]:
    """Return the keys, the newest first.

    On one machine a key is made in the data folder when none is set. Processes that share a
    database need not share a folder: there nobody makes one up.
    """
    if given := settings.secrets_keys:
        return given
    if settings.database_url.get_secret_value():
        return []
    return [base64.b64decode(known_or_made(secrets_key_file(settings), new_key))]


def open_vault(settings: Settings) -> Vault:
    """Open the vault; the table is made where it is missing."""
    vault = Vault(open_engine(vault_url(settings)), keys_of(settings))
    vault.create_tables()
    return vault


def _id_of(key: bytes) -> str:
    return hashlib.sha256(b"septet-key-id\x00" + key).hexdigest()[:16]

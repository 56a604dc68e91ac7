"""What happens to an account: its keys, AI provider and ledger. Amounts are whole credits."""

from typing import ClassVar

from events.commands import Key
from events.message import Event, known
from events.prices import Models


@known
class AccountOpened(Event):
    """A tenant's account was opened."""

    TYPE: ClassVar = "AccountOpened"
    STREAM: ClassVar = "account"
    name: str


@known
class KeyIssued(Event):
    """An API key may be used from now on."""

    TYPE: ClassVar = "KeyIssued"
    STREAM: ClassVar = "account"
    key: Key


@known
class KeyRevoked(Event):
    """An API key may not be used any more."""

    TYPE: ClassVar = "KeyRevoked"
    STREAM: ClassVar = "account"
    key_id: str


@known
class AiProviderChosen(Event):
    """The account's runs ask a provider of its own at `base_url`, up to and with /v1.

    Runs that begin now ask these models. `secret_id` names the key that is sent, which lies sealed
    in the vault and is in no message. One that was chosen before may be forgotten.
    """

    TYPE: ClassVar = "AiProviderChosen"
    STREAM: ClassVar = "account"
    base_url: str
    models: Models
    secret_id: str | None = None


@known
class AiProviderDropped(Event):
    """Runs of the account that begin now ask the installation's provider again."""

    TYPE: ClassVar = "AiProviderDropped"
    STREAM: ClassVar = "account"


@known
class CreditsGranted(Event):
    """The balance grew."""

    TYPE: ClassVar = "CreditsGranted"
    STREAM: ClassVar = "account"
    amount: int
    reason: str


@known
class CreditsHeld(Event):
    """Credits were set aside for the envelope's run."""

    TYPE: ClassVar = "CreditsHeld"
    STREAM: ClassVar = "account"
    amount: int


@known
class CreditsSettled(Event):
    """The balance paid for a batch: `from_hold` of the amount had been set aside for the run.

    `uncovered` is what the batch cost above what the account had; nobody owes it.
    """

    TYPE: ClassVar = "CreditsSettled"
    STREAM: ClassVar = "account"
    stage: int
    batch_id: str
    amount: int
    from_hold: int
    uncovered: int = 0


@known
class CreditsReleased(Event):
    """The rest of a run's hold is available again."""

    TYPE: ClassVar = "CreditsReleased"
    STREAM: ClassVar = "account"
    amount: int

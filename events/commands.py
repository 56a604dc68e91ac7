"""What can be asked for. Every command has one outcome, accepted or refused: its receipt."""

from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field

from events.config import ConfigChanges
from events.content import NewKeyword
from events.message import Command, Value, known
from events.prices import Models

TriggerType = Literal["manual", "scheduled"]
Role = Literal["viewer", "operator", "admin"]
Credits = Annotated[int, Field(ge=0, le=1_000_000_000_000)]


class Key(Value):
    """An API key without its secret: `digest` is the SHA-256 of the key in hex."""

    key_id: str
    digest: str
    role: Role


@known
class RunRequested(Command):
    """Start a run of the site. `slot` is the schedule's time that asked, none when a person did.

    With `retry_of` it takes exactly the items that failed in that run, and what comes of them.
    """

    TYPE: ClassVar = "RunRequested"
    trigger_type: TriggerType = "manual"
    slot: AwareDatetime | None = None
    retry_of: str | None = None


@known
class PauseRequested(Command):
    """Ask for no further batch until resumed; `note` is why, in the words of who asks."""

    TYPE: ClassVar = "PauseRequested"
    note: str = ""


@known
class ResumeRequested(Command):
    """Go on with exactly the items that are not done."""

    TYPE: ClassVar = "ResumeRequested"
    note: str = ""


@known
class CancelRequested(Command):
    """End the run; what is finished stays."""

    TYPE: ClassVar = "CancelRequested"
    note: str = ""


@known
class ConfigUpdateRequested(Command):
    """Change some fields of a site's config, from the next run on."""

    TYPE: ClassVar = "ConfigUpdateRequested"
    changes: ConfigChanges


@known
class KeywordsSubmitted(Command):
    """Add keywords to a site; those that it has are counted as duplicates."""

    TYPE: ClassVar = "KeywordsSubmitted"
    keywords: tuple[NewKeyword, ...]


@known
class TimerElapsed(Command):
    """A delay of the run is over."""

    TYPE: ClassVar = "TimerElapsed"
    timer_id: str


@known
class BatchTimedOut(Command):
    """Nobody answered this attempt of a batch in time."""

    TYPE: ClassVar = "BatchTimedOut"
    stage: int
    batch_id: str
    attempt: int


@known
class AccountRequested(Command):
    """Open an account with credits and its first key."""

    TYPE: ClassVar = "AccountRequested"
    name: str
    amount: Credits
    key: Key


@known
class KeyRequested(Command):
    """Add an API key to the account."""

    TYPE: ClassVar = "KeyRequested"
    key: Key


@known
class KeyRevocationRequested(Command):
    """Make an API key useless."""

    TYPE: ClassVar = "KeyRevocationRequested"
    key_id: str


@known
class AiProviderRequested(Command):
    """Have the account's runs ask a provider of its own, from the next run on.

    `secret_id` names the sealed key that is sent there, none where no key is asked for.
    """

    TYPE: ClassVar = "AiProviderRequested"
    base_url: str
    models: Models
    secret_id: str | None = None


@known
class AiProviderDropRequested(Command):
    """Have the account's runs ask the installation's provider again."""

    TYPE: ClassVar = "AiProviderDropRequested"


@known
class CreditsRequested(Command):
    """Grant the account whole credits."""

    TYPE: ClassVar = "CreditsRequested"
    amount: Annotated[int, Field(ge=1, le=1_000_000_000_000)]
    reason: str


@known
class SiteRequested(Command):
    """Add a site to the account."""

    TYPE: ClassVar = "SiteRequested"
    name: str
    domain: str
    timezone: str


@known
class ApprovalRequested(Command):
    """Approve an article that is in review."""

    TYPE: ClassVar = "ApprovalRequested"
    content_id: str


@known
class RejectionRequested(Command):
    """Reject an article that is in review."""

    TYPE: ClassVar = "RejectionRequested"
    content_id: str
    reason: str


@known
class ChangesRequested(Command):
    """Send an article that is in review back to writing, with a note for the writer."""

    TYPE: ClassVar = "ChangesRequested"
    content_id: str
    note: str

"""What may go wrong, how often in this seed, and what has been seen: each hard case must occur."""

import random
from collections import Counter
from dataclasses import dataclass

# What faults are counted as. All of them must have been injected in a large run.
KINDS = (
    "crash: orchestrator",
    "crash: relay",
    "crash: worker",
    "crash: projector",
    "crash: scheduler",
    "crash: api",
    "answer lost: sent",
    "answer lost: never sent",
    "nothing sent",
    "sent twice",
    "sent late",
    "broker emptied",
    "partition stolen",
    "store away",
    "answer of an append lost",
    "clock forward",
    "clock backward",
    "clock weeks ahead",
    "time leaps for all",
    "relay's lock lost",
    "read model refolded",
    "read model emptied",
    "poison",
    "bug of ours",
    "item failed",
    "provider halted",
    "batch failed",
    "worker hangs",
    "price above the bound",
    "another writer was faster",
)
# Cases that prove that the hard places were reached. Each must be counted in a large run.
SOMETIMES = (
    "a pause landed in a batch",
    "a cancel landed in a batch",
    "a run resumed while its batch was in flight",
    "a crash between append and commit",
    "a crash between a publication and the relay's position",
    "a crash of a worker between its answer and its report",
    "a batch timed out while its report was on the way",
    "a report came after its batch was asked for again",
    "a report came after its run had been cancelled",
    "a report without effect",
    "a zombie's commit was refused",
    "a zombie worked on",
    "the broker was emptied during a stage's last batch",
    "a relay wrote to a broker that had come back empty",
    "the stage's own report was lost, and the watchdog made up for it",
    "a clock jumped over a timer",
    "a clock stood before a time that was set",
    "two relays at once",
    "two orchestrators raced for one stream",
    "an append was read in two parts",
    "a scheduled run",
    "a slot was caught up",
    "a slot was missed",
    "a slot in an hour that does not exist",
    "a slot in an hour that comes twice",
    "a slot asked for twice",
    "a run paused for lack of credits",
    "a start refused for lack of credits",
    "a start refused as a run was active",
    "a batch cost more than there was",
    "a batch was given up",
    "a provider halted in a batch",
    "a provider halted in a stage's last batch",
    "a run waited for its provider",
    "a run paused for its provider",
    "a run failed as nobody answered",
    "a run completed",
    "a retry",
    "a revision",
    "a foreign command refused",
    "a command was withdrawn",
    "a command was sent again",
    "a request repeated with its key",
    "a config changed during a run",
    "keywords came during a run",
    "a dead letter",
    "batches in flight side by side",
)


@dataclass
class Faults:
    """One seed's mix. Rates are chances per step or per send; all stop at the end."""

    chance: random.Random
    crash: float
    twice: float
    late: float
    lost: float
    steal: float
    wipe: float
    clock: float
    leap: float
    lock: float
    refold: float
    store: float
    race: float
    poison: float
    provider: float
    broken: float
    dear: float
    hang: float
    halt: float
    are_on: bool = True

    def __post_init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()

    @classmethod
    def drawn(cls, chance: random.Random, seed: int) -> "Faults":
        """Draw a mix: most seeds have some faults often and others never.

        Halts are drawn from chances of their own: seeds without them are as they were before.
        """
        apart = random.Random(f"halts of {seed}")
        pick = chance.choice
        return cls(
            chance,
            crash=pick([0, 0.003, 0.02]),
            twice=pick([0, 0.05, 0.2]),
            late=pick([0, 0.05, 0.2]),
            lost=pick([0, 0.01, 0.05]),
            steal=pick([0, 0.002, 0.02]),
            wipe=pick([0, 0, 0.001, 0.003]),
            clock=pick([0, 0, 0.002, 0.01]),
            leap=pick([0, 0, 0.002, 0.005]),
            lock=pick([0, 0, 0.01]),
            refold=pick([0, 0, 0.002]),
            store=pick([0, 0, 0.02]),
            race=pick([0, 0.1, 0.3]),
            poison=pick([0, 0, 0.003]),
            provider=pick([0, 0.1, 0.3]),
            broken=pick([0, 0, 0.05, 0.7]),
            dear=pick([0, 0, 0.1]),
            hang=pick([0, 0.02, 0.1]),
            halt=apart.choice([0, 0, 0.05, 0.3]),
        )

    def strikes(self, rate: float, kind: str = "") -> bool:
        """Tell whether a fault of that rate comes now, and count it."""
        if not (self.are_on and rate and self.chance.random() < rate):
            return False
        if kind:
            self.counted[kind] += 1
        return True

    def sometimes(self, what: str) -> None:
        """Note that a hard case was reached."""
        assert what in SOMETIMES, what
        self.seen[what] += 1

"""Makes a realistic history: the real rules, scripted workers, two accounts, four sites."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from events.commands import (
    AccountRequested,
    AiProviderDropRequested,
    AiProviderRequested,
    ApprovalRequested,
    BatchTimedOut,
    CancelRequested,
    ChangesRequested,
    ConfigUpdateRequested,
    CreditsRequested,
    Key,
    KeyRequested,
    KeyRevocationRequested,
    KeywordsSubmitted,
    PauseRequested,
    RejectionRequested,
    ResumeRequested,
    RunRequested,
    SiteRequested,
    TimerElapsed,
)
from events.config import ConfigChanges
from events.content import (
    AiCall,
    Cluster,
    Draft,
    Fact,
    Idea,
    Image,
    Keyword,
    NewKeyword,
    Outcome,
    Prompt,
    Task,
    tally_of,
)
from events.envelope import Envelope
from events.ids import derive, run_id_of
from events.message import Event, Message
from events.prices import CALLS, Models, list_price
from events.quality import Measure, Quality
from events.receipts import MessageRefused
from events.run import (
    BatchFailed,
    BatchReturned,
    StageBatchCompleted,
    StageBatchRequested,
    StageCompleted,
    TimerSet,
)
from events.site import KeywordsAdded
from events.topics import Placed, is_published
from services.orchestrator.rules.decide import decide
from services.orchestrator.rules.evolve import evolve_account, evolve_run, evolve_site
from services.orchestrator.rules.state import Account, Run, Site, State

BEGINNING = datetime(2026, 3, 1, 9, 0, 0, 250_000, tzinfo=UTC)
STEP = 10  # between positions, so that a test can put an event of its own in between
BATCH_TIMEOUT = 60
FOREVER = 10_000  # steps after which a history that has not ended is a mistake

ALICE, BOB = "account-alice", "account-bob"
SHOP, BLOG, CLUB, DESK = "site-shop", "site-blog", "site-club", "site-desk"
NO_DELAY = {"within_stage_delay": 0, "between_stage_delay": 0}


@dataclass
class World:
    """A store in memory: every message is decided by the rules, every event gets its place."""

    now: datetime = BEGINNING
    position: int = 0
    placed: list[Placed] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    asked: list[Envelope] = field(default_factory=list)
    said: int = 0

    def say(
        self, message: Message, account: str, site: str | None = None, run: str | None = None
    ) -> Envelope:
        """Have the message decided and return the receipt; `cause` of it is the message's id."""
        self.said += 1
        self.now += timedelta(milliseconds=1_337)
        id_ = derive("cmd", self.said)
        run = run_id_of(id_) if isinstance(message, RunRequested) else run
        received = Envelope(
            id=id_,
            account_id=account,
            site_id=site,
            run_id=run,
            at=self.now,
            cause=id_,
            message=message,
        )
        state = State(
            now=self.now,
            batch_timeout=BATCH_TIMEOUT,
            run=self.runs.get(run or "", Run(id=run or "")),
            site=self.sites.get(site or "", Site(id=site or "")),
            account=self.accounts.get(account, Account(id=account)),
        )
        decided = decide(state, message)
        shown = [number for number, event in enumerate(decided) if is_published(event)]
        events = [
            received.reply(event, number, self.now, more=number < max(shown, default=0))
            for number, event in enumerate(decided)
        ]
        for event in events:
            self.record(event)
        return events[-1]

    def record(self, envelope: Envelope) -> None:
        """Append an event: fold it into its stream and give it the next position."""
        event, run = envelope.message, envelope.run_id or ""
        assert isinstance(event, Event)
        match event.STREAM:
            case "run":
                self.runs[run] = evolve_run(self.runs.get(run, Run(id=run)), event)
            case "site":
                site = envelope.site_id or ""
                before = self.sites.get(site, Site(id=site))
                self.sites[site] = evolve_site(before, event, run)
            case "account":
                owner = envelope.account_id
                past = self.accounts.get(owner, Account(id=owner))
                self.accounts[owner] = evolve_account(past, event, run)
        self._learn(envelope)
        self.position += STEP
        if is_published(event):
            self.placed.append(Placed(self.position, envelope))

    def _learn(self, envelope: Envelope) -> None:
        match envelope.message:
            case StageBatchRequested():
                self.asked.append(envelope)
            case StageBatchCompleted(made=made):
                for fact in made:
                    self.facts.setdefault(fact.id, fact)
            case KeywordsAdded(keywords=keywords):
                self.facts |= {keyword.id: keyword for keyword in keywords}

    def answer(self, request: Envelope, report: Message) -> Envelope:
        """Say what a worker reports of the request."""
        return self.say(report, request.account_id, request.site_id, request.run_id)

    def next_request(self, run: str) -> Envelope | None:
        """Take the run's oldest request that nobody has answered."""
        mine = next((one for one in self.asked if one.run_id == run), None)
        if mine is not None:
            self.asked.remove(mine)
        return mine

    def fire(self, run: str) -> bool:
        """Let the run's timer elapse, if it waits for one."""
        timer = self.runs[run].timer
        if timer is None:
            return False
        due = [p.envelope.message for p in self.placed if p.envelope.run_id == run]
        at = next(e.due_at for e in due if isinstance(e, TimerSet) and e.timer_id == timer)
        self.now = max(self.now, at)
        site, account = self.home_of(run)
        self.say(TimerElapsed(timer_id=timer), account, site, run)
        return True

    def home_of(self, run: str) -> tuple[str, str]:
        """Return the site and the account of a run."""
        found = next(p.envelope for p in self.placed if p.envelope.run_id == run)
        return found.site_id or "", found.account_id

    def work(self, run: str, worker: "Worker", until: Callable[[Run], bool]) -> Iterator[None]:
        """Answer the run's requests and timers until it is where it should be."""
        for _ in range(FOREVER):
            if until(self.runs[run]) or self.runs[run].has_ended:
                return
            if not self.fire(run):
                request = self.next_request(run)
                assert request is not None, f"{self.runs[run]} waits for nothing"
                for report in worker.reports(request, self):
                    self.answer(request, report)
            yield
        raise AssertionError(f"{run} never ends")


@dataclass(frozen=True)
class Worker:
    """A scripted worker: `fails` names titles that fail, `bare` drafts that get no prompts."""

    fails: frozenset[str] = frozenset()
    bare: frozenset[str] = frozenset()
    ideas: int = 1

    def reports(self, request: Envelope, world: World) -> Sequence[Message]:
        """Return what is reported of a request: the batch, and the stage after its last."""
        asked = request.message
        assert isinstance(asked, StageBatchRequested)
        outcomes, made = [], dict[str, Fact]()
        for item in asked.items:
            if _title(world.facts[item]) in self.fails:
                outcomes.append(Outcome(item=item, error="the model said no"))
                continue
            facts = self._make(asked.stage, world.facts[item], request, world)
            outcomes.append(Outcome(item=item, made=tuple(fact.id for fact in facts)))
            made |= {fact.id: fact for fact in facts}
        facts_ = tuple(made.values())
        calls = _calls(asked, outcomes)
        tally = tally_of(asked.stage, tuple(outcomes), facts_, calls)
        report = StageBatchCompleted(
            stage=asked.stage,
            batch_id=asked.batch_id,
            attempt=asked.attempt,
            outcomes=tuple(outcomes),
            made=facts_,
            calls=calls,
            tally=tally,
        )
        done = StageCompleted(
            stage=asked.stage,
            result=tally.counts,
            items_done=0,
            items_failed=0,
            credits_used=0,
            partial=False,
            batch_id=asked.batch_id,
        )
        return [report, done] if asked.last else [report]

    def _make(self, stage: int, item: Any, request: Envelope, world: World) -> tuple[Fact, ...]:
        match stage:
            case 1:
                return (_cluster(item, world.runs[request.run_id or ""], world.facts),)
            case 2:
                return tuple(_idea(item, number) for number in range(self.ideas))
            case 3:
                id_ = derive("task", item.id)
                return (Task(id=id_, idea_id=item.id, title=f"Write: {item.title}"),)
            case 4:
                draft = _draft(item)
                is_new = draft.id not in world.sites[request.site_id or ""].contents
                body = digest(item.id, request.run_id or "")
                changed = {"body": body, "slug": "a slug of its own", "word_count": 450}
                changed |= _measured(passed=True, rewritten=True, shingles=("000000000008", "0d"))
                return (draft if is_new else draft.model_copy(update=changed),)
            case 5 if item.title in self.bare:
                return ()
            case 5:
                return (_prompt(item, "featured"), _prompt(item, "in_article"))
            case 6:
                return (_image(item),)
            case _:
                return ()


def _title(item: Any) -> str:
    for name in ("keyword", "name", "title", "alt"):
        if text := getattr(item, name, None):
            return str(text)
    raise AssertionError(item)


def _calls(asked: StageBatchRequested, outcomes: Sequence[Outcome]) -> tuple[AiCall, ...]:
    if asked.stage not in CALLS:
        return ()
    function, once_a_batch = CALLS[asked.stage]
    price = list_price(asked.prices, function)
    told = outcomes[:1] if once_a_batch else outcomes
    return tuple(
        AiCall(
            function=function,
            model="local",
            status="failed" if one.error and not once_a_batch else "succeeded",
            credits_used=0 if one.error and not once_a_batch else price,
            error=None if once_a_batch else one.error,
        )
        for one in told
    )


def _cluster(keyword: Keyword, run: Run, facts: Mapping[str, Any]) -> Cluster:
    word = keyword.keyword.split()[0]
    first = next(item for item in run.items if facts[item].keyword.split()[0] == word)
    id_ = derive("cluster", run.id, word)
    return Cluster(id=id_, name=word.title(), intent="informational", first=first)


def _idea(cluster: Cluster, number: int) -> Idea:
    return Idea(
        id=derive("idea", cluster.id, number),
        cluster_id=cluster.id,
        title=f"{cluster.name} {number}",
        intent="commercial",
        outline=("Why", "How"),
        target_keywords=(cluster.name.lower(),),
    )


def _draft(task: Task) -> Draft:
    title = task.title.removeprefix("Write: ")
    return Draft(
        id=derive("content", task.id),
        task_id=task.id,
        title=title,
        slug="same-slug",
        body=digest(task.id),
        meta_title=title,
        meta_description=f"All about {title}",
        word_count=900,
        keywords=(title.lower(),),
        **_measured(
            passed=title not in ("Sugar 0", "Pen 0"), shingles=("000000000008", derive("sh", title))
        ),
    )


def _measured(*, passed: bool, shingles: tuple[str, ...], rewritten: bool = False) -> Any:
    """Return the fields of a draft that was judged; all drafts share the first shingle."""
    length = Measure(name="length", value=900, passed=passed, detail="It has 900 words.")
    share = Measure(name="near_duplicate", value=0.07, passed=True, detail="It is its own.")
    untold = Measure(name="grammar", value=None, passed=True, advisory=True, detail="Not checked.")
    measures = (length, share, untold)
    quality = Quality(passed=passed, rewritten=rewritten, measures=measures)
    return {"quality": quality, "shingles": shingles}


def _prompt(draft: Draft, role: Any) -> Prompt:
    return Prompt(
        id=derive("prompt", draft.id, role),
        content_id=draft.id,
        role=role,
        section="Why",
        text=f"A picture of {draft.title}",
        alt=f"{draft.title}, {role}",
    )


def _image(prompt: Prompt) -> Image:
    return Image(
        id=derive("image", prompt.id),
        prompt_id=prompt.id,
        content_id=prompt.content_id,
        file=digest(prompt.id),
        media_type="image/webp",
        width=1200,
        height=630,
        size=12_345,
        alt=prompt.alt,
    )


def digest(*parts: str) -> str:
    """Return what stands for the SHA-256 of bytes that nobody has made."""
    return sha256("/".join(parts).encode()).hexdigest()


def _never(_: Run) -> bool:
    return False


def _at_stage(stage: int) -> Callable[[Run], bool]:
    return lambda run: run.stage == stage and bool(run.in_flight)


def _key(name: str) -> Key:
    return Key(key_id=f"key-{name}", digest=derive("digest", name), role="admin")


def _configure(world: World, account: str, site: str, **changes: Any) -> None:
    changed = ConfigChanges.model_validate(changes)
    world.say(ConfigUpdateRequested(changes=changed), account, site)


def _submit(world: World, account: str, site: str, *keywords: str) -> None:
    new = tuple(NewKeyword(keyword=text, volume=100, difficulty=20) for text in keywords)
    world.say(KeywordsSubmitted(keywords=new), account, site)


def _start(world: World, account: str, site: str, retry_of: str | None = None) -> str:
    receipt = world.say(RunRequested(retry_of=retry_of), account, site)
    assert not isinstance(receipt.message, MessageRefused), receipt.message
    return receipt.run_id or ""


def shop(world: World) -> Iterator[None]:
    """A whole run with a pause, failures of every kind that it survives, and reviews."""
    _submit(world, ALICE, SHOP, "tea pot", "tea cup", "milk jug", "sugar", "honey", "Tea  Pot")
    _configure(world, ALICE, SHOP, stage_1_batch_size=2, stage_2_batch_size=2)
    yield
    run = _start(world, ALICE, SHOP)
    clumsy = Worker(fails=frozenset({"honey", "Milk 0, in_article"}), bare=frozenset({"Sugar 0"}))
    yield from world.work(run, clumsy, _at_stage(2))
    world.say(PauseRequested(), ALICE, SHOP, run)
    late = world.next_request(run)
    assert late is not None
    assert isinstance(late.message, StageBatchRequested)
    told = {"stage": 2, "batch_id": late.message.batch_id, "attempt": late.message.attempt}
    world.answer(late, BatchReturned.model_validate(told | {"reason": "the run is paused"}))
    yield
    world.say(PauseRequested(), ALICE, SHOP, run)  # refused: it is paused
    world.say(ResumeRequested(), ALICE, SHOP, run)
    yield from world.work(run, clumsy, _at_stage(4))
    for _ in range(3):  # the third time the batch is given up
        while world.fire(run):
            pass
        failing = world.next_request(run)
        assert failing is not None
        assert isinstance(failing.message, StageBatchRequested)
        told = {"stage": 4, "batch_id": failing.message.batch_id}
        told |= {"attempt": failing.message.attempt}
        call = AiCall(function="write_article", model="local", status="failed", credits_used=1)
        failed = BatchFailed.model_validate(told | {"error": "no disk space", "calls": [call]})
        world.answer(failing, failed)
        yield
    yield from world.work(run, clumsy, _never)
    contents = list(world.sites[SHOP].contents)
    world.say(ApprovalRequested(content_id=contents[0]), ALICE, SHOP)
    _submit(world, ALICE, SHOP, "spoon", "fork")
    yield
    run = _start(world, ALICE, SHOP)
    yield from world.work(run, Worker(ideas=2), _never)
    contents = [id_ for id_, status in world.sites[SHOP].contents.items() if status == "review"]
    world.say(RejectionRequested(content_id=contents[0], reason="dull"), ALICE, SHOP)
    world.say(ChangesRequested(content_id=contents[1], note="shorter"), ALICE, SHOP)
    world.say(RunRequested(retry_of="run-of-nobody"), ALICE, SHOP)  # refused: nothing to do


def blog(world: World) -> Iterator[None]:
    """A run that is cancelled with a batch in flight, one that fails, a schedule, a missed slot."""
    _submit(world, ALICE, BLOG, "red wine", "red grape", "white wine")
    _configure(world, ALICE, BLOG, **NO_DELAY, is_enabled=True)
    yield
    run = _start(world, ALICE, BLOG)
    yield from world.work(run, Worker(), _at_stage(3))
    request = world.next_request(run)
    assert request is not None
    world.say(CancelRequested(), ALICE, BLOG, run)
    yield
    world.say(RunRequested(), ALICE, BLOG)  # refused: what there is to do is still taken
    yield
    for report in Worker().reports(request, world):
        world.answer(request, report)
    world.say(RunRequested(trigger_type="scheduled", slot=BEGINNING), ALICE, BLOG)
    yield
    slot = world.sites[BLOG].next_run_at
    assert slot is not None
    world.now = max(world.now, slot)
    receipt = world.say(RunRequested(trigger_type="scheduled", slot=slot), ALICE, BLOG)
    assert receipt.message.TYPE == "MessageAccepted", receipt.message
    run = receipt.run_id or ""
    yield from world.work(run, Worker(), _at_stage(4))
    for _ in range(3):  # nobody answers: the third time the run fails
        request = world.next_request(run)
        assert request is not None
        assert isinstance(request.message, StageBatchRequested)
        timed_out = BatchTimedOut(
            stage=4, batch_id=request.message.batch_id, attempt=request.message.attempt
        )
        world.say(timed_out, ALICE, BLOG, run)
        yield


def club(world: World) -> Iterator[None]:
    """A run that lacks credits half-way, and goes on when there are more."""
    _submit(world, BOB, CLUB, "golf ball", "golf club", "tennis")
    _configure(world, BOB, CLUB, **NO_DELAY, max_parallel_batches=3)
    world.say(RunRequested(), BOB, CLUB)  # refused: not enough credits
    world.say(CreditsRequested(amount=44, reason="welcome"), BOB)
    yield
    run = _start(world, BOB, CLUB)
    yield from world.work(run, Worker(ideas=4), lambda run: run.status == "paused")
    world.say(CreditsRequested(amount=500, reason="paid"), BOB)
    yield
    world.say(ResumeRequested(), BOB, CLUB, run)
    yield from world.work(run, Worker(), _at_stage(6))


def desk(world: World) -> Iterator[None]:
    """What failed is tried again, twice, and an article is written anew, twice."""
    _submit(world, ALICE, DESK, "pen", "ink", "paper")
    _configure(world, ALICE, DESK, **NO_DELAY)
    yield
    failing = {"ink", "Pen 0, in_article", "Write: Paper 0"}
    first = _start(world, ALICE, DESK)
    yield from world.work(first, Worker(fails=frozenset(failing)), _never)
    second = _start(world, ALICE, DESK, retry_of=first)
    yield from world.work(second, Worker(fails=frozenset({"Pen 0, in_article"})), _never)
    world.say(RunRequested(retry_of=first), ALICE, DESK)  # refused: all has been tried again
    yield
    (pen, *_) = world.sites[DESK].contents
    world.say(ChangesRequested(content_id=pen, note="shorter"), ALICE, DESK)
    third = _start(world, ALICE, DESK)
    yield from world.work(third, Worker(fails=frozenset({"Write: Pen 0"})), _never)
    for retried in (second, third):
        run = _start(world, ALICE, DESK, retry_of=retried)
        yield from world.work(run, Worker(), _never)
    world.say(ChangesRequested(content_id=pen, note="shorter still"), ALICE, DESK)


def _choice(secret: str | None) -> AiProviderRequested:
    models = Models(text="gpt-5-mini", image="gpt-image-1", embedding="text-embedding-3-small")
    secret_id = None if secret is None else f"secret-{secret}"
    url = "https://api.openai.com/v1"
    return AiProviderRequested(base_url=url, models=models, secret_id=secret_id)


def make_history() -> World:
    """Return a world in which all of it has happened, the sites' events interleaved."""
    world = World()
    for account, amount in ((ALICE, 5_000), (BOB, 1)):
        opened = AccountRequested(name=account.title(), amount=amount, key=_key(account))
        world.say(opened, account)
    world.say(KeyRequested(key=_key("second")), ALICE)
    world.say(KeyRevocationRequested(key_id="key-second"), ALICE)
    for site, account in ((SHOP, ALICE), (BLOG, ALICE), (CLUB, BOB), (DESK, ALICE)):
        named = SiteRequested(name=site, domain=f"{site}.example", timezone="Europe/Berlin")
        world.say(named, account, site)
    world.say(_choice("first"), BOB)
    world.say(AiProviderDropRequested(), BOB)
    world.say(AiProviderDropRequested(), BOB)  # there is nothing to drop any more
    scripts = [shop(world), blog(world), club(world), desk(world)]
    while scripts:
        scripts = [script for script in scripts if next(script, "ended") != "ended"]
    for secret in ("second", "third", None, "fourth"):
        world.say(_choice(secret), ALICE)
    world.say(_choice("last"), BOB)
    return world


def moved(placed: Placed, position: int, message: Message) -> Placed:
    """Return another event beside one: of the same site and run, at a position of its own."""
    envelope = placed.envelope.model_copy(
        update={"id": derive("msg", "other", position), "message": message}
    )
    return replace(placed, position=position, envelope=envelope)

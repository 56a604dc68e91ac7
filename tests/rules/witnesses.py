"""For each check of the audit a lie that only it notices; made of `lies.found_alone()`."""

WITNESSES: dict[str, str] = {
    "'comes before the receipt of the last append'": (
        "troubled run: MessageAccepted 2 of append 25 is gone"
    ),
    "f'version {expected} is missing before it'": ("troubled run: other version at 0"),
    "f'position {position} does not rise'": ("troubled run: other position at 0"),
    "f'the stream belongs to {owner}'": ("troubled run: other account_id at 0"),
    "f'the site belongs to {owner}'": ("troubled run: other account_id at 5"),
    "f'is the receipt of {envelope.cause}'": ("troubled run: other stream at 3"),
    "'stands in the append of another message'": ("troubled run: other cause at 0"),
    "f'{receipt.kind} was accepted, and not done: {names}'": (
        "troubled run: ConfigUpdated 0 of append 2 is gone"
    ),
    "f'{held} credits are held'": ("scheduled run: CreditsHeld 3 of append 19: other amount 1"),
    "'the schedule answers another slot'": (
        "scheduled run: RunStarted 1 of append 5: other slot 0"
    ),
    "'the ids do not follow from the message'": ("troubled run: other id at 0"),
    "'the events do not say how many of them belong together'": ("troubled run: other more at 0"),
    "'the items that moved are not those that were settled'": (
        "troubled run: ItemsMoved 2 of append 8: other stage 0"
    ),
    "'what outcomes name is not what was made'": (
        "troubled run: StageBatchCompleted 0 of append 16: other made 4"
    ),
    "'items move on that nobody made'": ("troubled run: ItemsMoved 1 of append 11: other made 3"),
    "f'calls cost {dict(calls)}, settled are {dict(ledger)}'": (
        "troubled run: CreditsSettled 1 of append 5: other batch_id 0"
    ),
    "'report and ledger differ in what is uncovered'": (
        "troubled run: StageBatchCompleted 0 of append 11: other uncovered 0"
    ),
    "f'the run is active and the site is held by {owner}'": (
        "scheduled run: SiteOccupied 1 of append 19 is gone"
    ),
    "'the run ended and keeps its site'": ("troubled run: SiteReleased 1 of append 25 is gone"),
    "f'{len(taken)} items are taken, {len(flying)} in flight'": (
        "troubled run: SiteReleased 1 of append 13: other taken 3"
    ),
    "f'the run is of {run.site}, not of {site}'": ("troubled run: other site_id at 13"),
    "f'the run was {run.status}'": ("troubled run: RunStarted 1 of append 4 is doubled"),
    "f'the run is {run.status}'": ("troubled run: append 8 comes later"),
    "'the batch did not come back with these items'": (
        "troubled run: BatchGivenUp 1 of append 8: other batch_id 0"
    ),
    "'a timer is set already'": ("scheduled run: TimerSet 3 of append 6 is doubled"),
    "'the timer was not set'": ("scheduled run: TimerSet 3 of append 6: other timer_id 0"),
    "'who asked for it is not clear'": (
        "troubled run: RunStarted 1 of append 4: other trigger_type 0"
    ),
    "f'its stages sum up to {estimated}'": (
        "troubled run: RunStarted 1 of append 4: other estimate 0"
    ),
    "f'{required} credits are required'": (
        "troubled run: RunStarted 1 of append 4: other required_credits 1"
    ),
    "f'{available} credits are available'": (
        "troubled run: CreditsGranted 2 of append 0: other amount 0"
    ),
    "f'stage {run.stage} is not completed'": (
        "scheduled run: StageCompleted 6 of append 19 is gone"
    ),
    "'an item stands there twice'": ("troubled run: StageStarted 1 of append 12: other items 2"),
    "'it takes items that nobody made'": (
        "troubled run: KeywordsAdded 0 of append 3: other keywords 0"
    ),
    "f'stage {run.stage} is open'": ("scheduled run: StageStarted 13 of append 19 is gone"),
    "'its prices are not known'": (
        "scheduled run: StageBatchRequested 14 of append 19: other prices 0"
    ),
    "'it asks for nothing'": ("troubled run: StageBatchRequested 4 of append 4: other items 0"),
    '"its items are not the stage\'s"': (
        "troubled run: StageBatchRequested 4 of append 4: other items 4"
    ),
    "f'it asks for more than {size} items'": (
        "troubled run: StageBatchRequested 4 of append 4: other items 2"
    ),
    "f'last is {event.last}, {len(left)} items are left'": (
        "troubled run: StageBatchRequested 4 of append 4: other last 0"
    ),
    "'its sums so far are not those of the log'": (
        "troubled run: StageBatchRequested 4 of append 4: other so_far 0"
    ),
    "f'attempt {expected} is due'": (
        "troubled run: StageBatchRequested 3 of append 8: other attempt 0"
    ),
    "f'the run began with prices {run.prices}'": (
        "troubled run: RunStarted 1 of append 4: other prices 0"
    ),
    "'its outcomes are not those of its items'": (
        "troubled run: StageBatchRequested 2 of append 19: other items 2"
    ),
    "'its sums are not those of its outcomes and calls'": (
        "troubled run: StageBatchCompleted 0 of append 11: other tally 0"
    ),
    "'the batch was not in flight' #2": ("troubled run: BatchReturned 0 of append 6 is doubled"),
    "f'attempt {asked.attempt} is in flight'": (
        "troubled run: BatchFailed 0 of append 5: other attempt 0"
    ),
    "f'stage {run.stage} is open' #2": (
        "troubled run: StageCompleted 0 of append 12: other stage 0"
    ),
    "f'it says {sums}, the log {counted}'": (
        "troubled run: StageCompleted 0 of append 12: other credits_used 0"
    ),
    "'partial is wrong'": ("troubled run: StageCompleted 0 of append 12: other partial 0"),
    "f'its result is {counts}, the log has {expected}'": (
        "troubled run: StageCompleted 0 of append 12: other result 0"
    ),
    "'the site has one of the keywords'": (
        "troubled run: KeywordsAdded 0 of append 3: other keywords 2"
    ),
    "f'the site is occupied by {owner}'": ("troubled run: SiteOccupied 0 of append 4 is doubled"),
    "f'the site was occupied by {owner}'": ("troubled run: SiteReleased 1 of append 13 is doubled"),
    "'what is freed was not taken'": ("troubled run: ItemsFreed 1 of append 14: other items 3"),
    "f'{item} did not fail and waits again'": (
        "troubled run: ItemsRequeued 1 of append 15: other items 2"
    ),
    "f'the next slot, {upcoming}, was answered before'": ("scheduled run: append 4 comes later"),
    "f'{uncovered} are uncovered'": (
        "troubled run: CreditsSettled 1 of append 5: other uncovered 1"
    ),
    "f'{available} credits are available' #2": (
        "scheduled run: CreditsHeld 3 of append 19: other amount 2"
    ),
    "'it defers items that it was not asked for'": (
        "halted run: StageBatchCompleted 0 of append 5: other deferred 3"
    ),
    "'it defers without a halt'": ("halted run: StageBatchCompleted 0 of append 5: other halt 0"),
    "f'{from_hold} of {amount} were held'": (
        "halted run: CreditsSettled 2 of append 5: other from_hold 0"
    ),
    "'the message has more than one receipt'": ("halted run: other version at 3"),
}

# What another check notices too, in every log that a lie of the patterns makes.
NOT_ALONE: set[str] = {
    "'is not an event'",
    "f'a refusal changes something: {others}'",
    "'a slot is skipped without a word'",
    "f'{held} credits are held with nothing in flight'",
    "f'calls, stages and ledger differ: {sorted(sums)}'",
    "f'AI calls stand at {run.credits_used}, the ledger settled {run.ledger}'",
    "f'stage {run.stage} was the last to be completed'",
    "f'AI calls stand at {run.credits_used}'",
    "f'the site has an active run: {others}'",
    "'what waits again is not what is retried'",
    "f'{required} credits are required, {said} available'",
    "f'it comes after stage {run.stage}'",
    "'a retry takes other items'",
    "f'it takes more than {limit} items'",
    "'its items are settled already'",
    "'its items are in flight already'",
    "f'{most} batches are in flight already'",
    "'the last batch does not go alone'",
    "'an ended run has its items in flight'",
    "f'it may cost {bound} credits, {held} are held'",
    "'the batch was not in flight'",
    "'the batch is recorded already'",
    "f'{fact.slug} is the slug of {owner}'",
    "f'{outcome.item} is settled already'",
    "f'{outcome.item} was settled in another run'",
    "'a batch is in flight'",
    "'not all of its items are settled'",
    "f'{len(run.items)} items were planned'",
    "f'{item} was not done and waits again'",
    "f'the slot {slot} was answered before'",
    "'it makes what was made before'",
    "f'{content} is not in review'",
    "f'it grants {amount}'",
    "f'it holds {amount}'",
    "f'it releases {amount}'",
    "'the run has not ended, or a batch of it is in flight'",
    "f'the balance is {account.balance}'",
    "f'the hold is {account.holds[run_id]}'",
}

# Of notes, which no rule writes into these logs; logs made by hand prove them, each by its words.
BY_HAND: set[str] = {
    "f'attempts count from 1, it says {event.attempt}'",
    "'it is noted already'",
    "'the run has not begun'",
    "f'it stands in an append with {sorted(others)}'",
}

"""`septet`: the command line. Modules that are slow to load are imported inside the commands."""

from typing import Annotated

import typer

from services.cli import (
    account,
    audit,
    config,
    content,
    dead_letters,
    keywords,
    projections,
    run,
    site,
)
from services.cli.output import (
    OPERATE,
    PIPELINE,
    PROCESSES,
    START_HERE,
    Commands,
    Output,
    command,
)

app = typer.Typer(
    cls=Commands,
    name="septet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(output: Output = None) -> None:
    """Seven-stage AI content pipelines for many tenants and sites, event-sourced over Kafka."""
    del output


@command(app, "demo", START_HERE)
def demo() -> None:
    """Run the seven stages on sample keywords, start to end, and show what they made."""
    from services.cli.demo import run_demo

    run_demo()


@command(app, "up", START_HERE)
def up(
    *, seed: Annotated[bool, typer.Option("--demo", help="Put samples into an empty store")] = False
) -> None:
    """Start everything, broker included, and keep it running until Ctrl-C."""
    from services.cli.up import run_up

    run_up(seed=seed)


for noun, panel, verbs in (
    ("account", START_HERE, account.app),
    ("site", START_HERE, site.app),
    ("keywords", PIPELINE, keywords.app),
    ("config", PIPELINE, config.app),
    ("run", PIPELINE, run.app),
    ("content", PIPELINE, content.app),
    ("audit", OPERATE, audit.app),
    ("projections", OPERATE, projections.app),
    ("dead-letters", OPERATE, dead_letters.app),
):
    app.add_typer(verbs, name=noun, rich_help_panel=panel)


@command(app, "migrate", OPERATE)
def migrate() -> None:
    """Make the tables of the event store, the read model and the API where they are missing."""
    from services.cli.environment import start_settings
    from services.cli.output import emit
    from services.cli.processes import migrate_all
    from services.cli.stores import CHECK, answering

    settings = start_settings()
    with answering(settings, CHECK):
        where = migrate_all(settings)
    emit({"migrated": where}, f"tables are there in {where}")


@command(app, "api", PROCESSES)
def api() -> None:
    """Serve the HTTP API."""
    from services.cli.processes import serve

    serve("api")


@command(app, "orchestrator", PROCESSES)
def orchestrator() -> None:
    """Decide on commands and reports, and relay the store to Kafka."""
    from services.cli.processes import serve

    serve("orchestrator")


@command(app, "projector", PROCESSES)
def projector() -> None:
    """Keep the read model up to date."""
    from services.cli.processes import serve

    serve("projector")


@command(app, "scheduler", PROCESSES)
def scheduler() -> None:
    """Turn due timers and schedules into commands."""
    from services.cli.processes import serve

    serve("scheduler")


@command(app, "stage-worker", PROCESSES)
def stage_worker(
    stage: Annotated[
        list[int] | None, typer.Option(min=1, max=7, help="May be given again; none: all seven")
    ] = None,
) -> None:
    """Do the work of one stage, of several, or of all seven."""
    from services.cli.processes import serve

    serve("stage-worker", tuple(sorted(set(stage or range(1, 8)))))


if __name__ == "__main__":
    app()

"""`septet projections`: make the read model again from the events."""

from services.cli.environment import read_settings
from services.cli.output import command, emit, group, note
from services.cli.stores import answering, opened

app = group("Projections: make the read model again from the events.")


@command(app, "rebuild")
def rebuild() -> None:
    """Refold every event into the read model. Readers see the old rows until all is done."""
    from events.topics import Placed
    from projections import database
    from projections import rebuild as rebuilding
    from services.places import read_model_url

    settings = read_settings()
    set_aside: list[str] = []

    def report(placed: Placed, error: Exception) -> None:
        set_aside.append(f"position {placed.position} cannot be projected: {error!r}")

    with answering(settings):
        engine = database.open_engine(read_model_url(settings))
        try:
            database.create_tables(engine)
            count = rebuilding.rebuild(engine, opened(settings), report)
        finally:
            engine.dispose()
    for line in set_aside:
        note(line)
    emit({"events": count, "set_aside": set_aside}, f"read model made again from {count} events")

"""The composition root: it opens everything and runs one service until a signal."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from events.kafka.connection import Misconfigured
from services import logs, supervisor
from services.broker import PortTaken, require_free
from services.cli.environment import admin_token, secrets_of, start_settings
from services.cli.output import Code, Failed
from services.clock import now
from services.heartbeats import beat, place_of
from services.places import api_database_url, broker_of, read_model_url
from services.settings import Settings, models_of

logger = logging.getLogger(__name__)

END_WITHIN = 55.0  # seconds after a signal; a batch in hand is mostly finished before
Ready = Callable[[], None]
Work = Callable[[Settings, asyncio.Event, Ready], Coroutine[Any, Any, None]]


def serve(name: str, stages: tuple[int, ...] = ()) -> None:
    """Run one service until SIGTERM or SIGINT. Raises Failed when it ends by itself."""
    settings = start_settings()
    supervisor.exit_with_parent()
    if name == "api":
        _require_port(settings)
        admin_token(settings)  # so that it is there to be kept out of the log
    logs.configure(settings.log_level, name, secrets_of(settings))
    try:
        names = [f"stage-{stage}" for stage in stages] or [name]
        asyncio.run(_until_signal(settings, _work_of(name, stages), names))
    except Exception as error:  # the end of a process: the last place that can say why
        cause = _first(error)
        if isinstance(cause, Misconfigured):  # no traceback would say more
            raise Failed(str(cause), Code.USAGE) from error
        logger.exception("the service ended")
        raise Failed(f"{name} ended: {error!r}") from error


def _require_port(settings: Settings) -> None:
    """Raise Failed when the API's port is taken: uvicorn would end with the code of a refusal."""
    try:
        require_free(settings.host, settings.port, "Set SEPTET_PORT to a free port")
    except PortTaken as error:
        raise Failed(str(error)) from error


def _first(error: Exception) -> Exception:
    """Return what ended a group of tasks first."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def migrate_all(settings: Settings) -> str:
    """Make all tables where they are missing and return where they are.

    What accounts' secrets are sealed with becomes the newest key.
    """
    _migrate_store(settings)
    _migrate_read_model(settings)
    _open_pending(settings).close()
    _open_key_uses(settings).close()
    _migrate_vault(settings)
    return "PostgreSQL" if settings.database_url.get_secret_value() else str(settings.data_dir)


async def _until_signal(settings: Settings, work: Work, names: Sequence[str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    # A client whose servers are all away may try for ever; what is not done comes again.
    late = threading.Timer(END_WITHIN, os._exit, (os.EX_TEMPFAIL,))
    late.daemon = True

    def end() -> None:
        if not stop.is_set():
            late.start()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    places = [place_of(settings, name) for name in names] if settings.embedded_broker else []
    hearts = {"here": asyncio.create_task(beat(places))}

    def ready() -> None:
        if settings.alive_file is not None and "at work" not in hearts:
            hearts["at work"] = asyncio.create_task(beat([settings.alive_file]))
        supervisor.ready()

    try:
        await work(settings, stop, ready)
    finally:
        late.cancel()
        for heart in hearts.values():
            heart.cancel()


def _work_of(name: str, stages: tuple[int, ...]) -> Work:
    """Return what the service does; only its own modules are imported."""
    match name:
        case "api":
            return _api
        case "orchestrator":
            return _orchestrator
        case "projector":
            return _projector
        case "scheduler":
            from services.orchestrator import scheduler

            return scheduler.run
        case _:
            from services.stage_workers import app

            return lambda settings, stop, ready: app.run(settings, stages, stop, ready)


async def _orchestrator(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    from services.orchestrator import service

    await asyncio.to_thread(_migrate_store, settings)
    await service.run(settings, stop, ready)


async def _projector(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    from projections import projector
    from projections.database import open_engine
    from projections.fold import SetAside
    from services.cli.refold import refold
    from services.orchestrator.store import open_store

    await asyncio.to_thread(_migrate_read_model, settings)
    engine, store = open_engine(read_model_url(settings)), open_store(settings)
    try:

        def refolded(set_aside: SetAside) -> None:
            refold(settings, engine, store, set_aside, wait=True)

        await projector.run(engine, broker_of(settings), stop, refolded, now, ready)
    finally:
        engine.dispose()
        store.close()


async def _api(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """Serve HTTP. A stream that a client keeps open does not keep us from stopping."""
    import uvicorn

    from events.documents import asyncapi
    from events.kafka.producers import Producer
    from projections.database import open_engine
    from services.api.app import create_app
    from services.api.wire import config_of
    from services.artifacts import open_artifacts
    from services.cli.readiness import Readiness
    from services.clock import new_id, now

    engine = open_engine(read_model_url(settings))
    producer = Producer(broker_of(settings))
    readiness = Readiness(settings, engine)
    key_uses, vault = _open_key_uses(settings), _open_vault(settings)
    app = create_app(
        engine=engine,
        pending=_open_pending(settings),
        key_uses=key_uses,
        vault=vault,
        publish=producer.publish,
        artifacts=open_artifacts(settings),
        admin_token=admin_token(settings),
        clock=now,
        new_id=new_id,
        ready=readiness.look,
        asyncapi=asyncapi,
        requests_per_minute=settings.requests_per_minute,
        streams_per_key=settings.streams_per_key,
        models=models_of(settings),
        allowed_hosts=settings.allowed_hosts,
    )
    server = uvicorn.Server(config_of(app, settings.host, settings.port))
    try:
        await _serve_http(server, stop, ready)
    finally:
        await readiness.close()
        await producer.stop()
        key_uses.close()
        vault.close()
        engine.dispose()


async def _serve_http(server: Any, stop: asyncio.Event, ready: Ready) -> None:
    async def watch() -> None:
        while not server.started:
            await asyncio.sleep(0.01)
        ready()
        await stop.wait()
        server.should_exit = True

    watcher = asyncio.create_task(watch())
    try:
        await server.serve()
    except SystemExit as ended:  # its code is uvicorn's, and would mean something else here
        raise RuntimeError(f"the server did not start: {ended.__context__!r}") from ended
    finally:
        watcher.cancel()


def _migrate_store(settings: Settings) -> None:
    from services.orchestrator import chain, store

    store.migrate(settings)
    chain.migrate(settings)


def _migrate_read_model(settings: Settings) -> None:
    from projections.database import create_tables, open_engine

    engine = open_engine(read_model_url(settings))
    try:
        create_tables(engine)
    finally:
        engine.dispose()


def _open_pending(settings: Settings) -> Any:
    """Return the API's table of sent commands, made where it is missing."""
    from services.api.pending import open_pending

    return open_pending(api_database_url(settings))


def _open_key_uses(settings: Settings) -> Any:
    """Return the API's table of when keys were last used, made where it is missing."""
    from services.api.key_uses import open_key_uses

    return open_key_uses(api_database_url(settings))


def _open_vault(settings: Settings) -> Any:
    """Return the accounts' sealed secrets; the table is made where it is missing."""
    from services.vault import open_vault

    return open_vault(settings)


def _migrate_vault(settings: Settings) -> None:
    """Make the table, and seal with the newest key what older ones have sealed."""
    vault = _open_vault(settings)
    try:
        vault.seal_anew()
    finally:
        vault.close()

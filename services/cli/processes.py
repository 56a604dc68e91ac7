"""The composition root: it opens everything and runs one service until a signal."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from services import logs, supervisor
from services.cli.environment import admin_token, start_settings
from services.cli.output import Failed
from services.places import api_database_url, broker_of, read_model_url
from services.settings import Settings

logger = logging.getLogger(__name__)

Ready = Callable[[], None]
Work = Callable[[Settings, asyncio.Event, Ready], Coroutine[Any, Any, None]]


def serve(name: str, stages: tuple[int, ...] = ()) -> None:
    """Run one service until SIGTERM or SIGINT. Raises Failed when it ends by itself."""
    settings = start_settings()
    supervisor.exit_with_parent()
    logs.configure(settings.log_level, name)
    try:
        asyncio.run(_until_signal(settings, _work_of(name, stages)))
    except Exception as error:  # the end of a process: the last place that can say why
        logger.exception("the service ended")
        raise Failed(f"{name} ended: {error!r}") from error


def migrate_all(settings: Settings) -> str:
    """Make all tables where they are missing and return where they are."""
    from services.orchestrator import store

    store.migrate(settings)
    _migrate_read_model(settings)
    _open_pending(settings)
    return "PostgreSQL" if settings.database_url.get_secret_value() else str(settings.data_dir)


async def _until_signal(settings: Settings, work: Work) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await work(settings, stop, supervisor.ready)


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
    from services.orchestrator import service, store

    await asyncio.to_thread(store.migrate, settings)
    await service.run(settings, stop, ready)


async def _projector(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    from projections import projector
    from projections.database import open_engine
    from services.orchestrator.store import open_store

    await asyncio.to_thread(_migrate_read_model, settings)
    engine, store = open_engine(read_model_url(settings)), open_store(settings)
    try:
        await projector.run(engine, broker_of(settings), stop, store.placed, ready)
    finally:
        engine.dispose()
        store.close()


async def _api(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
    """Serve HTTP. A stream that a client keeps open does not keep us from stopping."""
    import uvicorn

    from events.documents import asyncapi
    from events.kafka import Producer
    from projections.database import open_engine
    from services.api.app import create_app
    from services.artifacts import open_artifacts
    from services.cli.readiness import Readiness
    from services.clock import new_id, now

    engine = open_engine(read_model_url(settings))
    producer = Producer(broker_of(settings))
    readiness = Readiness(settings, engine)
    app = create_app(
        engine=engine,
        pending=_open_pending(settings),
        publish=producer.publish,
        artifacts=open_artifacts(settings),
        admin_token=admin_token(settings),
        clock=now,
        new_id=new_id,
        ready=readiness.look,
        asyncapi=asyncapi,
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    try:
        await _serve_http(uvicorn.Server(config), stop, ready)
    finally:
        await readiness.close()
        await producer.stop()
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
    finally:
        watcher.cancel()


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

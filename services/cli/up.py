"""`septet up`: the services of one machine under one supervisor."""

import asyncio
import sys
from collections.abc import Callable, Sequence

from services.broker import PortTaken, require_free
from services.cli.client import Json, connect
from services.cli.environment import Access, admin_token, api_url, inherited, start_settings
from services.cli.keywords import counts
from services.cli.output import Code, Failed, as_json, emit, facts, note, say, table
from services.cli.seed import seed as seed_with
from services.settings import Settings
from services.supervisor import (
    AlreadyRunning,
    Child,
    Service,
    StartFailed,
    Supervisor,
    interruptible,
    locked,
    supervised,
)

Ranks = Sequence[Sequence[Service]]


def run_up(*, seed: bool) -> None:
    """Run everything until a signal. Raises Failed when it cannot be started."""
    settings = start_settings()
    try:
        with locked(settings.data_dir):
            require_ports(settings)
            asyncio.run(_up(settings, seed=seed))
    except (AlreadyRunning, PortTaken, StartFailed) as error:
        raise Failed(str(error)) from error


def require_ports(settings: Settings) -> None:
    """Raise PortTaken when a port that will be listened on is taken, Failed when both are one."""
    require_two_ports(settings)
    require_free(settings.host, settings.port, "Set SEPTET_PORT to a free port")
    if settings.embedded_broker:
        remedy = (
            "Set SEPTET_EMBEDDED_BROKER_PORT to a free port, "
            "or SEPTET_KAFKA_BOOTSTRAP_SERVERS to a Kafka of yours"
        )
        require_free("127.0.0.1", settings.embedded_broker_port, remedy)


def require_two_ports(settings: Settings) -> None:
    """Raise Failed when API and embedded broker are to listen on the same port."""
    if settings.embedded_broker and settings.port == settings.embedded_broker_port:
        raise Failed(
            f"SEPTET_PORT and SEPTET_EMBEDDED_BROKER_PORT are both {settings.port}. "
            "Set one of them to another port",
            Code.USAGE,
        )


def supervisor_of(settings: Settings, token: str, tell: Callable[[str], None]) -> Supervisor:
    """Return the supervisor of all services; the tables are made before they start."""
    from services.cli.processes import migrate_all
    from services.cli.stores import CHECK, answering

    with answering(settings, CHECK):
        migrate_all(settings)
    environment = inherited(
        admin_token=token,
        data_dir=str(settings.data_dir.absolute()),
        port=str(settings.port),
        embedded_broker_port=str(settings.embedded_broker_port),
        kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
        database_url=settings.database_url.get_secret_value(),
    )
    return Supervisor(ranks_of(settings), settings.data_dir / "logs", environment, tell)


def ranks_of(settings: Settings) -> Ranks:
    """Return the services in the order of their start: the orchestrator makes the topics."""
    port = settings.embedded_broker_port
    broker = Service(
        "broker",
        (sys.executable, "-m", "services.broker", str(port)),
        f"127.0.0.1:{port}",
        port=port,
    )
    return (
        *([[broker]] if settings.embedded_broker else []),
        [_process("orchestrator", "commands, reports, relay")],
        [
            _process("projector", "read model"),
            _process("scheduler", "timers, schedules"),
            _process("stage-worker", "7 of 7 stages"),
            _process("api", api_url(settings, Access(api_url=""))),
        ],
    )


def readiness(children: Sequence[Child]) -> str:
    """Return the table of services."""
    rows = [
        (
            child.service.name,
            child.state,
            child.pid,
            child.service.where,
            "-" if child.took is None else f"{child.took:.1f} s",
        )
        for child in children
    ]
    return table(("service", "state", "pid", "where", "ready"), rows)


def seed_demo(settings: Settings, token: str) -> Json:
    """Make the demo's account, site and keywords over HTTP."""
    url = api_url(settings, Access(api_url=""))
    return seed_with(connect(url, token), lambda key: connect(url, key))


async def _up(settings: Settings, *, seed: bool) -> None:
    token = admin_token(settings)
    supervisor = supervisor_of(settings, token, note)

    async def work() -> None:
        async with supervised(supervisor) as running:
            _announce(settings, running)
            if seed:
                await _seed(settings, token)
            await asyncio.Event().wait()

    await interruptible(work(), supervisor)
    if not as_json():
        say("stopped")


def _announce(settings: Settings, running: Supervisor) -> None:
    url = api_url(settings, Access(api_url=""))
    services = [
        {
            "service": child.service.name,
            "state": child.state,
            "pid": child.pid,
            "where": child.service.where,
            "ready_seconds": None if child.took is None else round(child.took, 2),
        }
        for child in running.children
    ]
    hint = f"  API  {url}/docs     Logs  {running.logs}     Stop  Ctrl-C"
    emit({"api_url": url, "services": services}, f"{readiness(running.children)}\n{hint}")


async def _seed(settings: Settings, token: str) -> None:
    from services.cli.stores import is_empty

    if not is_empty(settings):
        note("the store is not empty, so no sample data was put into it")
        return
    made = await asyncio.to_thread(seed_demo, settings, token)
    tries = (
        f"Try  export SEPTET_API_KEY={made['api_key']}\n"
        f"     septet run start --site {made['site_id']} --watch"
    )
    emit(made, f"{facts({**made, 'keywords': counts(made['keywords'])})}\n{tries}")


def _process(name: str, where: str) -> Service:
    return Service(name, (sys.executable, "-m", "services.cli.main", name), where)

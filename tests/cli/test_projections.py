"""What `septet projections rebuild` prints and answers, on a store that the rules have made."""

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from benchmarks.multiplied import multiplied, one_account
from benchmarks.replay import insert
from projections.database import open_engine
from projections.rebuild import EXAMPLES, Progress, Rebuilt
from services.cli.main import app
from services.cli.projections import Lines, verdict
from services.orchestrator import chain
from services.orchestrator.store import migrate
from services.places import read_model_url, rebuild_folder
from services.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = Settings(data_dir=tmp_path, database_url=SecretStr(""))
    migrate(made)
    chain.migrate(made)
    insert(made, multiplied(one_account(300), 2))
    monkeypatch.setenv("SEPTET_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("SEPTET_DATABASE_URL", raising=False)
    return made


def rebuild(*options: str) -> Result:
    return CliRunner().invoke(app, ["projections", "rebuild", *options])


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_it_fills_then_agrees_then_names_and_replaces_what_differs(settings: Settings) -> None:
    differs = rebuild("--compare-only")
    assert (differs.exit_code, "the live tables are empty" in differs.stdout) == (1, True)
    filled = told(rebuild("--output", "json"))
    assert (filled["tables"], filled["switched"], filled["set_aside"]) == ("empty", True, [])
    agreed = rebuild("--compare-only")
    assert agreed.exit_code == 0, agreed.stderr
    folded, same = agreed.stdout.splitlines()
    assert folded.startswith(f"{filled['events']:,} events folded again in 0:")
    assert same == "every row is as the events make it: nothing to replace"
    engine = open_engine(read_model_url(settings))
    with engine.begin() as tx:
        tx.execute(sa.text("UPDATE sites SET name = 'forged'"))
    engine.dispose()
    looked = rebuild("--compare-only")
    assert looked.exit_code == 1
    assert "name is 'forged', should be 'site-" in looked.stderr
    assert "See septet projections rebuild" in looked.stderr
    assert "nothing was changed" in looked.stdout
    replaced = told(rebuild("--output", "json"))
    assert set(replaced["differences"]) == {"sites"}
    assert replaced["differences"]["sites"] > len(replaced["examples"]) == EXAMPLES
    assert replaced["switched"]
    assert told(rebuild("--output", "json"))["differences"] == {}
    assert not rebuild_folder(settings).exists()


def test_a_second_one_is_refused_with_a_line(settings: Settings) -> None:
    with rebuild_folder(settings).with_suffix(".lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        refused = rebuild()
    assert refused.exit_code == 1
    assert refused.stderr == "error: another rebuild is at work: wait until it has ended\n"


def test_lines_come_now_and_then_and_with_each_new_phase(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter((0.0, 10.0, 10.0, 11.0, 20.0, 20.0, 21.0))
    monkeypatch.setattr("time.monotonic", lambda: next(ticks))
    lines = Lines()
    for position in (100, 110, 200):
        lines(Progress("folding", 10 * position, position, 400))
    lines(Progress("comparing", 4000, 0, 400))
    assert capsys.readouterr().err.splitlines() == [
        "folding  25 %  100 events/s  0:30 left",
        "folding  50 %  100 events/s  0:20 left",
        "comparing",
    ]


def test_a_new_shape_is_named() -> None:
    found = Rebuilt(5, "other shape")
    assert verdict(found) == "the live tables are of another shape; nothing was changed"
    found.switched = True
    assert verdict(found) == "the live tables were of another shape; replaced"

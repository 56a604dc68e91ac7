"""The image: what goes in, as whom it runs, and that the wheel alone is enough."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.contracts.deployment import ROOT, dockerfile, hosts_in, image_environment, read

PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
PACKAGES = ("events", "projections", "services")

# As an installed program: nothing of the source folder is on the path.
RUN = """
import sys
site, source, what = sys.argv[1:4]
sys.path[:] = [site, *(one for one in sys.path if one and one != source)]
sys.argv[:] = ["septet", *sys.argv[4:]]
exec(what)
"""
EVERYTHING = """
import importlib, pkgutil
for name in ("events", "projections", "services"):
    package = importlib.import_module(name)
    assert package.__file__.startswith(site), package.__file__
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(module.name)
"""
DATA = """
from events.documents import asyncapi
from services.api.examples import recorded
from services.cli.seed import sample_keywords
from services.stage_workers.ai.local.cards import face
from services.stage_workers.ai.local.embeddings import vocabulary
assert recorded() and asyncapi() and face("Bold", 22)
assert len(vocabulary()) == 30_522
assert sample_keywords().count(b"\\n") > 100
"""


def sources() -> list[str]:
    """Return what the Dockerfile copies out of this folder."""
    copies = [rest.split() for verb, rest in dockerfile() if verb == "COPY"]
    return [one for words in copies if not words[0].startswith("--from") for one in words[:-1]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with nothing but the wheel's content, built from what the Dockerfile copies."""
    context, dist, folder = (tmp_path_factory.mktemp(one) for one in ("context", "dist", "site"))
    for name in sources():
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            (context / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, context / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)],
        cwd=context,
        check=True,
        capture_output=True,
    )
    (wheel,) = dist.iterdir()
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def run(site: Path, folder: Path, what: str, *arguments: str) -> str:
    """Run Python with the wheel in an empty folder, without a home, and return what it printed."""
    empty = folder / "empty"
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN, str(site), str(ROOT), what, *arguments],
        cwd=empty,
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "SEPTET_DATA_DIR": str(folder / "data"),
            **{name: image_environment()[name] for name in ("PYTHONDONTWRITEBYTECODE",)},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(empty.iterdir()) == []
    return done.stdout


def files_of(folder: Path) -> dict[str, float]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_wheel_has_every_file_that_is_not_code(site: Path) -> None:
    for package in PACKAGES:
        expected = {
            f"{package}/{name}" for name in files_of(ROOT / package) if "__pycache__" not in name
        }
        assert expected <= files_of(site).keys()
    assert (site / "services/cli/keywords.csv").read_bytes() == (
        ROOT / "examples/keywords.csv"
    ).read_bytes()


def test_every_module_of_the_wheel_can_be_imported_without_the_source(
    site: Path, tmp_path: Path
) -> None:
    run(site, tmp_path, EVERYTHING)


def test_what_the_code_reads_comes_with_the_wheel(site: Path, tmp_path: Path) -> None:
    run(site, tmp_path, DATA)


def test_commands_run_in_an_empty_folder_and_leave_the_code_alone(
    site: Path, tmp_path: Path
) -> None:
    before = files_of(site)
    command = "from services.cli.main import app; app()"
    (tmp_path / "help").mkdir()
    assert "septet" in run(site, tmp_path / "help", command, "--help")
    assert run(site, tmp_path, command, "migrate") == f"tables are there in {tmp_path / 'data'}\n"
    assert files_of(site) == before


def test_the_ignore_file_lets_in_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert lines[0] == "*"
    admitted = {line[1:] for line in lines if line.startswith("!")}
    shut_out = {line for line in lines[1:] if not line.startswith("!")}
    # A file of a folder: the folder is let in, all of it shut out again, and the file let in.
    for name in sorted(name for name in admitted if "/" in name):
        assert f"{name.split('/')[0]}/*" in shut_out
        admitted.remove(name.split("/")[0])
    assert admitted == set(sources())
    assert {"**/__pycache__", "**/*.pyc"} <= shut_out


def test_it_is_built_from_locks_with_hashes() -> None:
    installs = [rest for verb, rest in dockerfile() if verb == "RUN" and "install " in rest]
    for command in re.findall(r"pip --python \S+ install ([^&]+)", " ".join(installs)):
        assert "--require-hashes -r requirements" in command or "--no-deps /dist/" in command
    locked = {
        name: dict(PIN.findall((ROOT / name).read_text("utf-8")))
        for name in ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")
    }
    assert "hatchling" in locked["requirements-build.lock"]
    for name, pins in locked.items():
        assert pins.items() <= locked["requirements-dev.lock"].items(), f"{name} was not tested"
        text = (ROOT / name).read_text("utf-8")
        assert text.count("--hash=sha256:") >= len(pins)
        assert "://" not in text, "no registry is named"


def test_it_runs_as_a_number_without_build_tools() -> None:
    last = [verb for verb, _ in dockerfile()]
    final = dockerfile()[len(last) - last[::-1].index("FROM") :]
    said = {verb: rest for verb, rest in final if verb != "COPY"}
    assert said["USER"] == "10001:10001"
    assert (said["ENTRYPOINT"], said["STOPSIGNAL"]) == ('["septet"]', "SIGTERM")
    assert not {"CMD", "HEALTHCHECK", "VOLUME"} & said.keys()
    assert "pip" not in said["RUN"] + said["ENV"]
    assert [rest for verb, rest in final if verb == "COPY"] == [
        "--from=build /opt/septet /opt/septet"
    ]
    base = dict(rest.split("=") for verb, rest in dockerfile() if verb == "ARG")["PYTHON"]
    assert not hosts_in(base)
    assert base.startswith("python:3.11-slim"), "the release that the locks and the tests are of"


def test_its_variables_are_settings() -> None:
    settings = read({})
    assert (settings.host, settings.data_dir) == ("0.0.0.0", Path("/data"))
    assert settings.alive_file == Path("/tmp/alive")

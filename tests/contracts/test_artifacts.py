"""What every store of artifacts promises, over a folder and over memory."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from services.artifacts import Artifacts, in_folder, in_memory

ABSENT = "0" * 64


@pytest.fixture(params=["folder", "memory"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    return in_folder(tmp_path / "artifacts") if request.param == "folder" else in_memory()


def test_bytes_are_found_under_their_sha256(artifacts: Artifacts) -> None:
    async def scenario() -> None:
        digest = await artifacts.put(b"# Coffee")
        assert digest == hashlib.sha256(b"# Coffee").hexdigest()
        assert await artifacts.get(digest) == b"# Coffee"

    asyncio.run(scenario())


def test_writing_the_same_bytes_twice_is_writing_them_once(artifacts: Artifacts) -> None:
    async def scenario() -> None:
        first, second = await asyncio.gather(artifacts.put(b"same"), artifacts.put(b"same"))
        assert first == second
        assert await artifacts.get(first) == b"same"

    asyncio.run(scenario())


def test_no_bytes_are_an_artifact_too(artifacts: Artifacts) -> None:
    async def scenario() -> None:
        assert await artifacts.get(await artifacts.put(b"")) == b""

    asyncio.run(scenario())


@pytest.mark.parametrize("digest", [ABSENT, "", "ab", "../../x", "A" * 64, "0" * 63 + "\n"])
def test_what_is_not_there_is_a_lookup_error(artifacts: Artifacts, digest: str) -> None:
    with pytest.raises(LookupError):
        asyncio.run(artifacts.get(digest))


def test_deleted_bytes_are_gone_and_may_be_deleted_again(artifacts: Artifacts) -> None:
    async def scenario() -> None:
        digest = await artifacts.put(b"to be erased")
        await artifacts.delete(digest)
        await artifacts.delete(digest)
        with pytest.raises(LookupError):
            await artifacts.get(digest)

    asyncio.run(scenario())


def test_a_folder_tells_where_the_file_lies(tmp_path: Path) -> None:
    artifacts = in_folder(tmp_path / "artifacts")
    digest = asyncio.run(artifacts.put(b"a file"))
    path = artifacts.path_of(digest)
    assert path == tmp_path / "artifacts" / digest[:2] / digest[2:4] / digest
    assert path is not None
    assert path.read_bytes() == b"a file"


def test_memory_has_no_files() -> None:
    artifacts = in_memory()
    assert artifacts.path_of(asyncio.run(artifacts.put(b"no file"))) is None


def test_a_command_reads_the_same_bytes(artifacts: Artifacts) -> None:
    digest = asyncio.run(artifacts.put(b"# Coffee"))
    assert artifacts.read(digest) == b"# Coffee"
    with pytest.raises(LookupError):
        artifacts.read(ABSENT)

"""Content-addressed bytes: article bodies and image files, named by their SHA-256."""

import hashlib
import re
from pathlib import Path

from obstore.store import LocalStore, MemoryStore, ObjectStore

from services.settings import Settings

DIGEST = re.compile(r"[0-9a-f]{64}")


class Artifacts:
    """Bytes under their own hash, so that writing the same twice is writing it once.

    `folder` is where the files lie, none when the store is not a folder.
    """

    def __init__(self, store: ObjectStore, folder: Path | None = None) -> None:
        self.store = store
        self.folder = folder

    async def put(self, content: bytes) -> str:
        """Keep the bytes and return their SHA-256 in hex."""
        digest = hashlib.sha256(content).hexdigest()
        await self.store.put_async(_place(digest), content)
        return digest

    async def get(self, digest: str) -> bytes:
        """Return the bytes. Raises LookupError when there are none of that hash."""
        try:
            found = await self.store.get_async(_place(digest))
        except FileNotFoundError as error:
            raise LookupError(f"there is no artifact {digest}") from error
        return bytes(await found.bytes_async())

    def read(self, digest: str) -> bytes:
        """Return the bytes, as `get` does, for commands: it blocks, and leaves no task behind.

        A thread of the library that lets go of a finished task while Python ends can abort it.
        """
        try:
            found = self.store.get(_place(digest))
        except FileNotFoundError as error:
            raise LookupError(f"there is no artifact {digest}") from error
        return bytes(found.bytes())

    async def delete(self, digest: str) -> None:
        """Erase the bytes; nothing happens when there are none of that hash.

        Raises LookupError when it is not a hash.
        """
        try:
            await self.store.delete_async(_place(digest))
        except FileNotFoundError:
            return

    def path_of(self, digest: str) -> Path | None:
        """Return the file that holds the bytes, none when the store is not a folder.

        Raises LookupError when it is not a hash.
        """
        return self.folder / _place(digest) if self.folder is not None else None


def open_artifacts(settings: Settings) -> Artifacts:
    """Return the artifacts of the settings' data folder."""
    return in_folder(settings.data_dir / "artifacts")


def in_folder(folder: Path) -> Artifacts:
    """Return artifacts that are files below the folder, which is made."""
    absolute = folder.absolute()
    absolute.mkdir(parents=True, exist_ok=True)
    return Artifacts(LocalStore(absolute), absolute)


def in_memory() -> Artifacts:
    """Return artifacts that end with the process."""
    return Artifacts(MemoryStore())


def _place(digest: str) -> str:
    """Return the path of the bytes, spread over 65,536 folders. Raises LookupError for no hash."""
    if DIGEST.fullmatch(digest) is None:
        raise LookupError("an artifact is named by 64 hexadecimal digits")
    return f"{digest[:2]}/{digest[2:4]}/{digest}"

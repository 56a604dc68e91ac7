"""An approved article, from Septet's HTTP API to files that are named by its slug."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # worth asking again
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}
TRIES, PATIENCE = 4, 10.0  # asks of one path, seconds between two of them
PLAIN = re.compile(r"\w[\w-]{0,150}")


class TryAgain(Exception):
    """Septet cannot answer now; `after` is how many seconds it wants to be left alone."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class NotThere(Exception):
    """No such article: perhaps not yet, perhaps not any more."""


class KeyRefused(Exception):
    """The API key is wrong, or may not read."""


class Septet:
    """Reads with a viewer's key."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=30)

    async def get(self, path: str, **params: str) -> httpx.Response:
        """Ask, and ask again while Septet is busy. Raises TryAgain, NotThere or KeyRefused."""
        for tried in range(TRIES - 1):
            try:
                return await self._get(path, params)
            except TryAgain as error:
                wait = 0.2 * 2**tried if error.after is None else error.after
                if wait > PATIENCE:
                    raise
                await asyncio.sleep(wait)
        return await self._get(path, params)

    async def _get(self, path: str, params: dict[str, str]) -> httpx.Response:
        try:
            answer = await self._http.get(f"/api/v1{path}", params=params)
        except httpx.TransportError as error:
            raise TryAgain(f"{path}: {error!r}") from error
        if answer.status_code in PASSING:
            wait = answer.headers.get("Retry-After", "")
            after = float(wait) if wait.isascii() and wait.isdigit() else None
            raise TryAgain(f"{path}: {answer.status_code}", after)
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise KeyRefused(f"{path}: {answer.status_code}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NotThere(path)
        answer.raise_for_status()
        return answer

    async def account_id(self) -> str:
        return str((await self.get("/account")).json()["account_id"])

    async def approved(self) -> AsyncIterator[str]:
        """Yield the id of every approved article, as the API has them now."""
        async for site in self._listed("/sites"):
            asked = {"site_id": site["site_id"], "status": "approved"}
            async for article in self._listed("/writer/content", **asked):
                yield article["id"]

    async def _listed(self, path: str, **params: str) -> AsyncIterator[Any]:
        cursor: str | None = ""
        while cursor is not None:
            page = (await self.get(path, **params, **({"cursor": cursor} if cursor else {}))).json()
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")

    async def article(self, content_id: str) -> tuple[Any, dict[str, bytes]]:
        """Return an article and the bytes of its images by their ids."""
        found = (await self.get(f"/writer/content/{content_id}")).json()
        rendered = [one for one in found["images"] if one["file"] is not None]
        files = {
            one["id"]: (await self.get(f"/writer/images/{one['id']}/file")).content
            for one in rendered
        }
        return found, files

    async def close(self) -> None:
        await self._http.aclose()


def write(folder: Path, article: Any, images: dict[str, bytes]) -> Path:
    """Write images and text, the text last, and return its path.

    A text that is there is whole, and has its images. Writing again makes the same files.
    """
    slug = _name(article["slug"]) or _name(article["id"])
    site = folder / _name(article["site_id"])
    shown = []
    for image in article["images"]:
        if image["id"] in images:
            name = f"{slug}/{_name(image['id'])}{SUFFIXES.get(image['media_type'], '.bin')}"
            _put(site / name, images[image["id"]])
            shown.append({"file": name, "role": image["role"], "alt": image["alt"]})
    head = {
        "id": article["id"],
        "title": article["title"],
        "description": article["meta_description"],
        "keywords": article["keywords"],
        "images": shown,
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in head.items()]
    text = "\n".join(["---", *lines, "---", "", article["body"], ""])
    path = site / f"{slug}.md"
    _put(path, text.encode())
    return path


def _name(said: str) -> str:
    """Return a name that came over the network, none when it could be more than a name."""
    return said if PLAIN.fullmatch(said) else ""


def _put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.part")
    with half.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)

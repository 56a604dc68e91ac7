"""Septet as its next release may be: its command line, with a second version of one message.

`ItemsMoved` calls what failed `lost`, in version 2. That is all that a release changes: the class,
an upcaster, and nothing in the code that reads it.
"""

from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from events import site
from events.message import KNOWN, known
from events.upcasters import upcasts

del KNOWN["septet.ItemsMoved.v1"]


@known
class ItemsMoved(site.ItemsMoved):
    """Items of a stage were settled."""

    VERSION: ClassVar[int] = 2
    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)
    failed: tuple[str, ...] = Field(alias="lost")


@upcasts("septet.ItemsMoved.v1")
def failed_became_lost(body: dict[str, Any]) -> dict[str, Any]:
    body["lost"] = body.pop("failed")
    return body


site.ItemsMoved = ItemsMoved  # type: ignore[misc]  # before any other module takes it from there

if __name__ == "__main__":
    from services.cli.main import app

    app()

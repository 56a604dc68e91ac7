"""Does every link and image lead somewhere?"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from events.quality import Measure
from services.stage_workers.quality.markdown import Document, is_on_site, page_of
from services.stage_workers.quality.words import counted, named

SCHEMES = frozenset({"http", "https", "mailto", "tel"})


def links(document: Document, paths: Sequence[str]) -> Measure:
    """Find links to pages that the site does not have, and destinations that are no page.

    Links to other sites are counted and not followed. An image has to be one of another site, as
    the draft's own are added later.
    """
    known = {page_of(path) for path in paths}
    every = (*document.links, *document.images)
    bad = [target for target in document.links if not _leads_somewhere(target, known)]
    bad += [target for target in document.images if not _is_elsewhere(target)]
    away = sum(_is_elsewhere(target) for target in document.links)
    told = f"lead nowhere: {named(bad)}" if bad else "lead nowhere"
    followed = f" Not followed: {counted(away, 'link')} to other sites." if away else ""
    return Measure(
        name="links",
        value=len(bad),
        passed=not bad,
        detail=f"Of {len(every)} links and images {len(bad)} {told}; none may.{followed}",
    )


def _leads_somewhere(target: str, known: set[str]) -> bool:
    if is_on_site(target):
        return target != "" and page_of(target) in known
    return target.startswith("#") or _is_elsewhere(target)


def _is_elsewhere(target: str) -> bool:
    try:
        parts = urlsplit(target)
    except ValueError:
        return False
    has_host = bool(parts.hostname) or parts.scheme in ("mailto", "tel")
    return parts.scheme in SCHEMES and has_host

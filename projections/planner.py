"""What is planned for a site: its keywords, the clusters they form, the ideas for each cluster."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import sqlalchemy as sa

from events.content import Cluster, Idea, Intent, Keyword
from events.run import StageBatchCompleted
from events.site import ItemsMoved, ItemsRequeued, KeywordsAdded
from events.topics import Placed
from projections.database import (
    AnyRow,
    Parsed,
    Row,
    Whole,
    as_json,
    in_order,
    insert_new,
    many,
    may,
    metadata,
    must,
    ordinal_of,
    page,
    primary,
    write_all,
)

keywords = sa.Table(
    "keywords",
    metadata,
    primary("id"),
    must("account_id"),
    must("site_id"),
    must("ordinal", Whole),
    must("keyword"),
    may("volume", Whole),
    may("difficulty", Whole),
    may("intent"),
    must("status"),
    may("cluster_id"),
    sa.Index("keywords_site", "site_id", "ordinal"),
    sa.Index("keywords_cluster", "cluster_id"),
    sqlite_with_rowid=False,
)
clusters = sa.Table(
    "clusters",
    metadata,
    primary("id"),
    must("account_id"),
    must("site_id"),
    may("run_id"),
    must("ordinal", Whole),
    must("name"),
    must("intent"),
    must("status"),
    sa.Index("clusters_site", "site_id", "ordinal"),
    sqlite_with_rowid=False,
)
ideas = sa.Table(
    "ideas",
    metadata,
    primary("id"),
    must("account_id"),
    must("site_id"),
    may("run_id"),
    must("ordinal", Whole),
    must("cluster_id"),
    must("title"),
    must("intent"),
    must("outline"),
    must("target_keywords"),
    must("status"),
    sa.Index("ideas_site", "site_id", "ordinal"),
)

NEWEST = 2_000  # clusters and ideas that new ones are told apart from


class KeywordRow(Row):
    id: str
    keyword: str
    volume: int | None
    difficulty: int | None
    intent: str | None
    status: Literal["pending", "clustered", "failed"]
    cluster_id: str | None


class ClusterRow(Row):
    id: str
    name: str
    intent: Intent
    status: Literal["pending", "planned", "failed"]
    run_id: str | None


class IdeaRow(Row):
    id: str
    cluster_id: str
    title: str
    intent: Intent
    outline: Annotated[tuple[str, ...], Parsed]
    target_keywords: Annotated[tuple[str, ...], Parsed]
    status: Literal["pending", "scheduled", "failed"]
    run_id: str | None


class ClusterWork(Row):
    """A cluster with its members, as the stage that makes ideas reads it."""

    id: str
    name: str
    intent: Intent
    keywords: tuple[KeywordRow, ...]


class Takes(NamedTuple):
    """The statement that settles an item of a stage, and what it is called when it is done."""

    settle: sa.Update
    done: str


def settle(table: sa.Table) -> sa.Update:
    """Return the statement that gives an item of the site its status."""
    which = (table.c.id == sa.bindparam("which"), table.c.site_id == sa.bindparam("where"))
    return sa.update(table).where(*which).values(status=sa.bindparam("outcome"))


def settle_all(tx: sa.Connection, placed: Placed, moved: ItemsMoved, takes: Takes) -> None:
    """Give what the stage took its status: done or failed."""
    settle_each(tx, placed, takes.settle, moved.done, takes.done)
    settle_each(tx, placed, takes.settle, moved.failed, "failed")


def settle_each(
    tx: sa.Connection, placed: Placed, statement: sa.Update, ids: Sequence[str], outcome: str
) -> None:
    """Give these items of the site their status."""
    site = placed.envelope.site_id
    write_all(tx, statement, [{"which": id_, "where": site, "outcome": outcome} for id_ in ids])


ADD_KEYWORDS = insert_new(keywords)
ADD_CLUSTERS = insert_new(clusters)  # several batches of stage 1 report the same cluster
ADD_IDEAS = insert_new(ideas)
JOIN = (
    sa.update(keywords)
    .where(keywords.c.id == sa.bindparam("which"), keywords.c.site_id == sa.bindparam("where"))
    .values(cluster_id=sa.bindparam("cluster"))
)
TAKES = {
    1: Takes(settle(keywords), "clustered"),
    2: Takes(settle(clusters), "planned"),
    3: Takes(settle(ideas), "scheduled"),
}


def apply(tx: sa.Connection, placed: Placed) -> None:
    match placed.envelope.message:
        case ItemsMoved(stage=stage) as moved if stage in TAKES:
            settle_all(tx, placed, moved, TAKES[stage])
        case ItemsRequeued(stage=stage, items=again) if stage in TAKES:
            settle_each(tx, placed, TAKES[stage].settle, again, "pending")
        case StageBatchCompleted(stage=1) as report:
            _cluster(tx, placed, report)
        case StageBatchCompleted(stage=2, made=made):
            facts = [(index, fact) for index, fact in enumerate(made) if isinstance(fact, Idea)]
            write_all(tx, ADD_IDEAS, [_idea(placed, *one) for one in facts])
        case KeywordsAdded(keywords=added):
            rows = [_keyword(placed, index, one) for index, one in enumerate(added)]
            write_all(tx, ADD_KEYWORDS, rows)


def _cluster(tx: sa.Connection, placed: Placed, report: StageBatchCompleted) -> None:
    facts = [(index, fact) for index, fact in enumerate(report.made) if isinstance(fact, Cluster)]
    write_all(tx, ADD_CLUSTERS, [_cluster_row(placed, *one) for one in facts])
    site = placed.envelope.site_id
    members = [
        {"which": outcome.item, "where": site, "cluster": outcome.made[0]}
        for outcome in report.outcomes
        if outcome.error is None and outcome.made
    ]
    write_all(tx, JOIN, members)


def made_in(placed: Placed, index: int) -> dict[str, Any]:
    """Return what every fact's row begins with."""
    envelope = placed.envelope
    return {
        "account_id": envelope.account_id,
        "site_id": envelope.site_id,
        "run_id": envelope.run_id,
        "ordinal": ordinal_of(placed.position, index),
        "status": "pending",
    }


def _keyword(placed: Placed, index: int, keyword: Keyword) -> dict[str, Any]:
    envelope = placed.envelope
    return {
        "id": keyword.id,
        "account_id": envelope.account_id,
        "site_id": envelope.site_id,
        "ordinal": ordinal_of(placed.position, index),
        "keyword": keyword.keyword,
        "volume": keyword.volume,
        "difficulty": keyword.difficulty,
        "intent": keyword.intent,
        "status": "pending",
    }


def _cluster_row(placed: Placed, index: int, cluster: Cluster) -> dict[str, Any]:
    known = {"id": cluster.id, "name": cluster.name, "intent": cluster.intent}
    return made_in(placed, index) | known


def _idea(placed: Placed, index: int, idea: Idea) -> dict[str, Any]:
    return made_in(placed, index) | {
        "id": idea.id,
        "cluster_id": idea.cluster_id,
        "title": idea.title,
        "intent": idea.intent,
        "outline": as_json(idea.outline),
        "target_keywords": as_json(idea.target_keywords),
    }


Listed = tuple[list[AnyRow], int | None]


def lister(
    kind: type[AnyRow], asked: sa.Select[Any], table: sa.Table
) -> Callable[[sa.Connection, str, str, str | None, int, int | None], Listed[AnyRow]]:
    """Return the query for a page of a site's rows of one table, in the order of their creation.

    It takes account, site, status or none for all, how many at most, and the place to go on from.
    """

    def page_of(
        tx: sa.Connection,
        account_id: str,
        site_id: str,
        status: str | None,
        limit: int,
        after: int | None,
    ) -> Listed[AnyRow]:
        mine = asked.where(table.c.account_id == account_id, table.c.site_id == site_id)
        if status is not None:
            mine = mine.where(table.c.status == status)
        if after is not None:
            mine = mine.where(table.c.ordinal > after)
        return page(tx, kind, mine.order_by(table.c.ordinal), "ordinal", limit)

    return page_of


list_keywords = lister(KeywordRow, sa.select(keywords), keywords)
list_clusters = lister(ClusterRow, sa.select(clusters), clusters)
list_ideas = lister(IdeaRow, sa.select(ideas), ideas)


def keywords_of(tx: sa.Connection, account_id: str, ids: Sequence[str]) -> list[KeywordRow]:
    """Return the keywords in the order of the ids, without those that are missing."""
    mine = (keywords.c.account_id == account_id, keywords.c.id.in_(ids))
    return in_order(many(tx, KeywordRow, sa.select(keywords).where(*mine)), ids)


def ideas_of(tx: sa.Connection, account_id: str, ids: Sequence[str]) -> list[IdeaRow]:
    """Return the ideas in the order of the ids, without those that are missing."""
    mine = (ideas.c.account_id == account_id, ideas.c.id.in_(ids))
    return in_order(many(tx, IdeaRow, sa.select(ideas).where(*mine)), ids)


def clusters_of(tx: sa.Connection, account_id: str, ids: Sequence[str]) -> list[ClusterWork]:
    """Return the clusters with their members, in the order of the ids, without missing ones."""
    mine = (clusters.c.account_id == account_id, clusters.c.id.in_(ids))
    found = tx.execute(sa.select(clusters).where(*mine)).mappings().all()
    members: dict[str, list[KeywordRow]] = {row["id"]: [] for row in found}
    asked = (
        sa.select(keywords)
        .where(keywords.c.account_id == account_id, keywords.c.cluster_id.in_(list(members)))
        .order_by(keywords.c.ordinal)
    )
    for keyword in many(tx, KeywordRow, asked):
        members[keyword.cluster_id or ""].append(keyword)
    works = [ClusterWork.model_validate({**row, "keywords": members[row["id"]]}) for row in found]
    return in_order(works, ids)


def cluster_names(tx: sa.Connection, account_id: str, site_id: str) -> dict[str, str]:
    """Return the names of the site's newest clusters by id, at most 2,000."""
    asked = (
        sa.select(clusters.c.id, clusters.c.name)
        .where(clusters.c.account_id == account_id, clusters.c.site_id == site_id)
        .order_by(clusters.c.ordinal.desc())
        .limit(NEWEST)
    )
    return {row.id: row.name for row in tx.execute(asked)}


def idea_titles(tx: sa.Connection, account_id: str, site_id: str) -> tuple[str, ...]:
    """Return the titles of the site's newest ideas, at most 2,000."""
    asked = (
        sa.select(ideas.c.title)
        .where(ideas.c.account_id == account_id, ideas.c.site_id == site_id)
        .order_by(ideas.c.ordinal.desc())
        .limit(NEWEST)
    )
    return tuple(tx.scalars(asked))

"""Section 3 of the contract, read literally: keys, defaults, statuses, pages and filters."""

from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from events import run as run_events
from events import site as site_events
from events.ids import derive
from services.api.dependencies import known_form
from services.api.problems import NotFound
from services.api.sender import ANSWER_WITHIN
from tests.api.examples import a_world
from tests.api.world import ADMIN_TOKEN, Tenant, impatience, refuse, silent

RUN = (
    "run_id site_id trigger_type status current_stage started_at paused_at resumed_at cancelled_at "
    "completed_at total_credits_used held_credits error_message batches_in_flight stages"
)
STAGE = (
    "stage name status items_total items_done items_failed credits_used started_at completed_at "
    "partial result"
)
CONFIG = (
    "site_id is_enabled frequency scheduled_time timezone schedule_weekday schedule_day "
    "stage_1_batch_size stage_2_batch_size stage_3_batch_size stage_4_batch_size "
    "stage_5_batch_size stage_6_batch_size within_stage_delay between_stage_delay "
    "max_items_per_stage max_parallel_batches last_run_at next_run_at"
)
A_RUN = {"": RUN, "stages.*": STAGE}
PROCESSING = (
    "run_id status stage stage_name items_total items_done percentage processing eta_seconds"
)
ACCOUNT = {"": "account_id name balance held_credits available_credits"}
ARTICLE = "id title slug body meta_title meta_description word_count status keywords images lineage"

# What each GET promises, by the place in its answer; `*` is every item of a list that has some.
PROMISED = {
    "/automation/config?site_id={site}": {"": CONFIG},
    "/automation/current_run?site_id={site}": {"": "run", "run": RUN, "run.stages.*": STAGE},
    "/automation/run?run_id={run}": A_RUN,
    "/automation/history?site_id={site}": {
        "": "runs next_cursor",
        "runs.*": RUN,
        "runs.*.stages.*": STAGE,
    },
    "/automation/logs?run_id={run}": {"": "run_id lines", "lines.*": "at level stage message"},
    "/automation/estimate?site_id={site}": {
        "": "site_id estimated_credits required_credits balance available_credits sufficient "
        "stages",
        "stages.*": "stage items credits",
    },
    "/automation/pipeline_overview?site_id={site}": {
        "": "site_id stages",
        "stages.*": "stage name pending in_progress done failed",
    },
    "/automation/current_processing?site_id={site}": {
        "": PROCESSING,
        "processing.*": "id title",
    },
    "/automation/current_processing?site_id={site}&run_id={run}": {"": PROCESSING},
    "/automation/current_processing?run_id={run}": {"": PROCESSING},
    "/automation/current_processing?site_id={idle_site}": {"": PROCESSING},
    "/automation/events?run_id={run}": {"": "events", "events.*": "position type at data"},
    "/automation/audit_head?site_id={site}": {"": "site_id position head"},
    "/automation/why?site_id={site}": {"": "refusals", "refusals.*": "rule numbers"},
    "/planner/keywords?site_id={site}": {
        "": "items next_cursor",
        "items.*": "id status keyword cluster_id",
    },
    "/planner/clusters?site_id={site}": {"": "items next_cursor", "items.*": "id status name"},
    "/planner/ideas?site_id={site}": {
        "": "items next_cursor",
        "items.*": "id status title cluster_id",
    },
    "/writer/tasks?site_id={site}": {"": "items next_cursor", "items.*": "id status idea_id"},
    "/writer/content?site_id={site}": {"": "items next_cursor", "items.*": "id status title"},
    "/writer/images?site_id={site}": {"": "items next_cursor", "items.*": "id status"},
    "/writer/content/{article}": {
        "": ARTICLE,
        "lineage": "cluster_id idea_id task_id run_id",
    },
    "/commands/{command}": {"": "command_id status"},
    "/sites": {"": "items next_cursor", "items.*": "site_id name domain timezone"},
    "/account": ACCOUNT,
    "/account/ledger": {"": "items next_cursor", "items.*": "id at type amount run_id"},
    "/account/ai_tasks?run_id={run}": {
        "": "items next_cursor",
        "items.*": "id run_id stage function model status credits at",
    },
    "/healthz": {"": "status"},
    "/readyz": {"": "status checks"},
    "/openapi.json": {"": "openapi info paths"},
    "/asyncapi.json": {"": "asyncapi"},
}


@pytest.fixture(scope="module")
def scene():
    """A tenant whose run has made one article and goes on, and an older site without any run."""
    with a_world() as (world, client):
        tenant = Tenant(world, client, "one")
        idle = tenant.site_id
        new = {"name": "Second", "domain": "second.example"}
        tenant.site_id = tenant.post("/sites", json=new).json()["site_id"]
        tenant.add_keywords(*(f"keyword {number}" for number in range(5)))
        tenant.start_run()
        command = world.sent[-1].id
        article = tenant.write_article()
        keywords = tenant.get(f"/planner/keywords?site_id={tenant.site_id}").json()["items"]
        first, second = keywords[0]["id"], keywords[1]["id"]
        tenant.happen(run_events.StageStarted(stage=1, items=(first, second)))
        tenant.happen(tenant.asked(1, first))
        tenant.happen(
            site_events.RunRefused(
                trigger_type="scheduled",
                slot=world.now,
                code="insufficient_credits",
                detail="Not enough.",
                numbers={"required_credits": 9},
            )
        )
        (image,) = tenant.get(f"/writer/images?site_id={tenant.site_id}").json()["items"]
        ids = {
            "site": tenant.site_id,
            "idle_site": idle,
            "run": tenant.run_id,
            "article": article,
            "image": image["id"],
            "command": command,
            "account": tenant.account_id,
            "key": tenant.key_id,
        }
        yield SimpleNamespace(world=world, client=client, tenant=tenant, ids=ids)


def at(value, place):
    """Return the parts of an answer at a place such as `runs.*.stages.*`."""
    found = [value]
    for name in place.split(".") if place else ():
        if name == "*":
            assert all(found), f"nothing is in {place}"
            found = [part for one in found for part in one]
        else:
            found = [one[name] for one in found]
    return found


@pytest.mark.parametrize("path", PROMISED)
def test_an_answer_has_every_key_that_the_contract_promises(scene, path):
    answer = scene.tenant.get(path.format(**scene.ids))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    for place, keys in PROMISED[path].items():
        for one in at(answer.json(), place):
            assert set(keys.split()) <= set(one), place or "the answer"


def test_times_are_rfc_3339_in_utc_and_ids_are_texts(scene):
    named = {}
    for path in PROMISED:
        for name, value in leaves(scene.tenant.get(path.format(**scene.ids)).json()):
            named.setdefault(name, []).append(value)
    times = ("at", "started_at", "last_run_at", "requested_at", "answer_by", "created_at")
    ids = ("id", "site_id", "run_id", "account_id", "cluster_id", "idea_id", "task_id", "batch_id")
    for name in times:
        found = [value for value in named[name] if value is not None]
        assert found, name
        for text in found:
            assert text.endswith("Z"), (name, text)
            assert datetime.fromisoformat(text).utcoffset() == timedelta(0), (name, text)
    for name in ids:
        assert any(named[name]), name
        assert {type(value) for value in named[name]} <= {str, type(None)}, name


def leaves(value, name=""):
    """Yield every value that holds no others, with the name it goes by."""
    match value:
        case dict():
            for key, part in value.items():
                yield from leaves(part, key)
        case list():
            for part in value:
                yield from leaves(part, name)
        case _:
            yield name, value


def test_every_get_of_the_document_is_read_here(scene):
    shown = {path.partition("?")[0] for path in PROMISED} | ELSEWHERE
    for path, methods in scene.world.app.openapi()["paths"].items():
        short = path.removeprefix("/api/v1")
        for parameter, mine in MINE.items():
            short = short.replace(f"{{{parameter}}}", f"{{{mine}}}")
        assert "get" not in methods or short in shown, (
            f"tests/api/test_contract_shapes.py says nothing of GET {path}: add to PROMISED what "
            "it promises, or add it to ELSEWHERE if the contract knows no such endpoint"
        )


MINE = {
    "content_id": "article",
    "command_id": "command",
    "image_id": "image",
    "account_id": "account",
}
# What is no JSON, what the admin token reads, and what the contract does not know.
ELSEWHERE = {
    "/automation/stream",
    "/metrics",
    "/writer/images/{image}/file",
    "/admin/accounts/{account}",
    "/admin/accounts/{account}/keys",
    "/account/ai",
    "/account/keys",
    "/account/prices",
}


def test_an_operator_reads_any_account(scene):
    path = f"/admin/accounts/{scene.ids['account']}"
    assert set(ACCOUNT[""].split()) <= set(scene.client.ask("GET", path, ADMIN_TOKEN).json())


def test_what_is_no_json_says_what_it_is(scene):
    image = scene.tenant.get(f"/writer/images/{scene.ids['image']}/file")
    assert (image.status_code, image.headers["content-type"]) == (200, "image/png")
    metrics = scene.client.ask("GET", "/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")


CONFIG_DEFAULTS = {
    "is_enabled": False,
    "frequency": "daily",
    "scheduled_time": "02:00",
    "timezone": "UTC",
    "stage_1_batch_size": 20,
    "stage_2_batch_size": 1,
    "stage_3_batch_size": 20,
    "stage_4_batch_size": 1,
    "stage_5_batch_size": 1,
    "stage_6_batch_size": 1,
    "within_stage_delay": 3,
    "between_stage_delay": 5,
    "max_items_per_stage": 500,
    "max_parallel_batches": 1,
    "next_run_at": None,
}


def test_a_config_is_made_on_first_use_with_the_defaults(scene):
    found = scene.tenant.get(f"/automation/config?site_id={scene.ids['site']}").json()
    assert {name: found[name] for name in CONFIG_DEFAULTS} == CONFIG_DEFAULTS


def test_the_zone_is_the_sites_at_first(scene):
    found = scene.tenant.get(f"/automation/config?site_id={scene.ids['idle_site']}").json()
    assert found["timezone"] == "Europe/Berlin"


# A value that is refused, of every settable field, and the outermost two that are taken.
LIMITS = {
    **{f"stage_{number}_batch_size": ((1, 100), (0, 101)) for number in range(1, 7)},
    "within_stage_delay": ((0, 3600), (-1, 3601)),
    "between_stage_delay": ((0, 3600), (-1, 3601)),
    "max_parallel_batches": ((1, 10), (0, 11)),
    "schedule_weekday": ((0, 6), (-1, 7)),
    "schedule_day": ((1, 28), (0, 29)),
    "max_items_per_stage": ((1, 500), (0, -1)),
    "is_enabled": ((True, False), (1, "true")),
    "frequency": (("daily", "monthly"), ("hourly", "DAILY")),
    "scheduled_time": (("00:00", "23:59"), ("24:00", "12:60")),
    "timezone": (("UTC", "America/New_York"), ("Nowhere/Land", "CEST+1")),
}


@pytest.mark.parametrize("field", LIMITS)
def test_a_setting_is_taken_within_its_limits_and_refused_beyond(scene, field):
    good, bad = LIMITS[field]
    path = f"/automation/update_config?site_id={scene.ids['idle_site']}"
    for value in good:
        answer = scene.tenant.put(path, json={field: value})
        assert (answer.status_code, answer.json()[field]) == (200, value)
        assert set(CONFIG.split()) <= set(answer.json())
    for value in bad:
        answer = scene.tenant.put(path, json={field: value})
        assert is_refused(answer, field), answer.text


def test_the_read_only_fields_of_a_config_are_not_settable(scene):
    path = f"/automation/update_config?site_id={scene.ids['idle_site']}"
    for field in set(CONFIG.split()) - set(LIMITS):
        assert is_refused(scene.tenant.put(path, json={field: "site-x"}), field)


def is_refused(answer, field):
    if answer.status_code != 400:
        return False
    body = answer.json()
    return body["code"] == "invalid_request" and body["detail"].startswith(f"{field}:")


STAGES = ["clusters", "ideas", "tasks", "content", "prompts", "images", "review"]
RESULTS = (
    "keywords_processed clusters_created",
    "clusters_processed ideas_created",
    "ideas_processed tasks_created",
    "tasks_processed content_created total_words",
    "content_processed prompts_created",
    "images_processed images_generated images_failed",
    "ready_for_review",
)


def test_a_run_has_seven_stages_by_name_and_their_results(scene):
    found = scene.tenant.get(f"/automation/run?run_id={scene.ids['run']}").json()
    assert [stage["name"] for stage in found["stages"]] == STAGES
    assert [stage["stage"] for stage in found["stages"]] == [1, 2, 3, 4, 5, 6, 7]
    assert (found["status"], found["trigger_type"]) == ("running", "manual")
    statuses = {"pending", "running", "completed", "partial"}
    for stage, keys in zip(found["stages"], RESULTS, strict=True):
        assert stage["status"] in statuses
        assert stage["result"] is None or set(keys.split()) <= set(stage["result"])


def test_events_carry_stage_and_batch(scene):
    found = scene.tenant.get(f"/automation/events?run_id={scene.ids['run']}").json()["events"]
    positions = [event["position"] for event in found]
    assert positions == sorted(set(positions))
    for event in found:
        assert "." not in event["type"]
        if event["type"].startswith("Stage"):
            assert {"stage", "batch_id"} <= set(event["data"]), event["type"]


# Commands: what they answer with, asked of a tenant of their own.

COMMANDS = {
    "POST /automation/run_now?site_id={site}": (None, 202, "run_id site_id status trigger_type"),
    "POST /automation/pause?run_id={run}": (None, 200, RUN),
    "POST /automation/resume?run_id={run}": (None, 200, RUN),
    "POST /automation/cancel?run_id={run}": (None, 200, RUN),
    "PUT /automation/update_config?site_id={site}": ({"stage_1_batch_size": 5}, 200, CONFIG),
    "POST /planner/keywords?site_id={site}": (
        {"keywords": [{"keyword": "a", "volume": 1, "difficulty": 2, "intent": "commercial"}]},
        200,
        "imported duplicates rejected",
    ),
    "POST /sites": ({"name": "A", "domain": "a.example", "timezone": "UTC"}, 201, "site_id"),
    "POST /writer/content/{article}/approve": (None, 200, "id status"),
    "POST /writer/content/{article}/reject": ({"reason": "No."}, 200, "id status"),
    "POST /writer/content/{article}/request_changes": ({"note": "More."}, 200, "id status"),
    "POST /admin/accounts": ({"name": "A", "credits": 5}, 201, "account_id api_key"),
    "POST /admin/accounts/{account}/keys": ({"role": "viewer"}, 201, "key_id api_key role"),
    "POST /admin/accounts/{account}/credits": ({"amount": 5, "reason": "gift"}, 200, ""),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_with_its_status_and_keys(scene, command):
    body, status, keys = COMMANDS[command]
    answer = send(scene, command, body)
    assert answer.status_code == status, answer.text
    assert set(keys.split()) <= set(answer.json())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_an_outcome_is_pending_and_its_outcome_is_told_later(scene, command):
    body, _, _ = COMMANDS[command]
    before, scene.world.script = scene.world.script, silent
    try:
        with impatience():
            answer = send(scene, command, body)
    finally:
        scene.world.script = before
    assert answer.status_code == 202
    assert set(answer.json()) == {"command_id", "status"}
    assert answer.json()["status"] == "pending"
    told = f"/api/v1/commands/{answer.json()['command_id']}"
    assert answer.headers["location"] == told
    key = ADMIN_TOKEN if "/admin/" in command else scene.tenant.key
    assert scene.client.ask("GET", told, key).json()["status"] == "pending"


POSTS = [command for command in COMMANDS if command.startswith("POST ")]


@pytest.mark.parametrize("command", POSTS)
def test_a_post_that_comes_again_is_answered_the_same_and_acts_once(scene, command):
    body, status, _ = COMMANDS[command]
    before = len(scene.world.sent)
    first, second = (send(scene, command, body, f"again {command}") for _ in range(2))
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.status_code == status
    assert len(scene.world.sent) == before + 1


@pytest.mark.parametrize("command", POSTS)
def test_a_refused_post_that_comes_again_is_refused_the_same(scene, command):
    body, _, _ = COMMANDS[command]
    before, scene.world.script = scene.world.script, refuse("invalid_transition", run_status="x")
    try:
        first = send(scene, command, body, f"refused {command}")
    finally:
        scene.world.script = before
    second = send(scene, command, body, f"refused {command}")
    assert (first.status_code, first.json()["code"]) == (400, "invalid_transition")
    assert (second.status_code, second.content) == (400, first.content)


@pytest.mark.parametrize("command", POSTS)
def test_the_key_of_another_request_is_a_409_and_sends_nothing(scene, command):
    body, _, _ = COMMANDS[command]
    send(scene, command, body, f"other {command}")
    before = len(scene.world.sent)
    answer = send(scene, f"{command}{'&' if '?' in command else '?'}x=1", body, f"other {command}")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert len(scene.world.sent) == before


def test_a_command_without_an_outcome_is_answered_within_five_seconds(scene):
    before, scene.world.script = scene.world.script, silent
    assert ANSWER_WITHIN < 5
    try:
        answer = send(scene, "POST /automation/run_now?site_id={idle_site}", None)
    finally:
        scene.world.script = before
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")


def send(scene, command, body, idempotency_key=None):
    method, path = command.format(**scene.ids).split(" ")
    key = ADMIN_TOKEN if "/admin/" in path else scene.tenant.key
    options = {} if body is None else {"json": body}
    if idempotency_key is not None:
        options["headers"] = {"Idempotency-Key": idempotency_key}
    return scene.client.ask(method, path, key, **options)


def test_a_started_run_is_manual_and_running(scene):
    answer = send(scene, "POST /automation/run_now?site_id={site}", None).json()
    assert (answer["status"], answer["trigger_type"]) == ("running", "manual")
    assert answer["site_id"] == scene.ids["site"]


def test_a_command_tells_its_outcome(scene):
    accepted = scene.tenant.get(f"/commands/{scene.ids['command']}").json()
    assert (accepted["command_id"], accepted["status"]) == (scene.ids["command"], "accepted")
    before, scene.world.script = scene.world.script, refuse("run_already_active", active_run_id="r")
    refused = send(scene, "POST /automation/run_now?site_id={site}", None)
    scene.world.script = before
    assert (refused.status_code, refused.json()["active_run_id"]) == (400, "r")
    told = scene.tenant.get(f"/commands/{scene.world.sent[-1].id}").json()
    assert (told["status"], told["code"]) == ("refused", "run_already_active")


def test_a_revoked_key_leaves_no_body(scene):
    made = send(scene, "POST /admin/accounts/{account}/keys", {"role": "viewer"}).json()
    answer = send(scene, f"DELETE /admin/keys/{made['key_id']}", None)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers
    made = send(scene, "POST /admin/accounts/{account}/keys", {"role": "viewer"}).json()
    own = scene.client.ask("DELETE", f"/account/keys/{made['key_id']}", scene.tenant.key)
    assert (own.status_code, "content-type" in own.headers) == (204, False)


# Pages and filters

LISTS = {
    "/automation/history?site_id={site}": "runs",
    "/planner/keywords?site_id={site}": "items",
    "/planner/clusters?site_id={site}": "items",
    "/planner/ideas?site_id={site}": "items",
    "/writer/tasks?site_id={site}": "items",
    "/writer/content?site_id={site}": "items",
    "/writer/images?site_id={site}": "items",
    "/sites?": "items",
    "/account/ledger?": "items",
    "/account/ai_tasks?": "items",
}
BAD_LIMITS = (
    "0",
    "-1",
    "1001",
    "1000000",
    "9" * 400,
    "abc",
    "1e3",
    "",
    "1.0",
    "1_0",
    "+5",
    "0x1",
    "٣",
    "None",
)
BAD_CURSORS = ("1", "x", "%00", "%F0%9F%98%80", "A" * 27, "A" * 200, "A" * 201, "==", "-1", "null")


@pytest.mark.parametrize("path", LISTS)
def test_a_list_is_paged_to_its_end(scene, path):
    path, name = path.format(**scene.ids), LISTS[path]
    whole = scene.tenant.get(f"{path}&limit=200").json()
    assert whole["next_cursor"] is None
    assert whole[name]
    found, cursor = [], ""
    while cursor is not None:
        page = scene.tenant.get(f"{path}&limit=1&cursor={cursor}").json()
        assert len(page[name]) == 1
        found += page[name]
        cursor = page["next_cursor"]
    assert found == whole[name]


@pytest.mark.parametrize("path", LISTS)
def test_a_bad_limit_or_cursor_is_a_400_that_names_it(scene, path):
    path = path.format(**scene.ids)
    for limit in BAD_LIMITS:
        assert is_refused(scene.tenant.get(f"{path}&limit={limit}"), "limit"), limit
    for cursor in BAD_CURSORS:
        assert is_refused(scene.tenant.get(f"{path}&cursor={cursor}"), "cursor"), cursor
    for limit in ("1", "201", "1000"):
        assert scene.tenant.get(f"{path}&limit={limit}").status_code == 200


def test_a_cursor_is_good_for_its_own_list_only(scene):
    first = f"/planner/keywords?site_id={scene.ids['site']}"
    cursor = scene.tenant.get(f"{first}&limit=1").json()["next_cursor"]
    assert scene.tenant.get(f"{first}&cursor={cursor}").status_code == 200
    for path in LISTS:
        other = path.format(**scene.ids)
        if not other.startswith(first):
            assert is_refused(scene.tenant.get(f"{other}&cursor={cursor}"), "cursor"), path
    elsewhere = f"/planner/keywords?site_id={scene.ids['idle_site']}&cursor={cursor}"
    assert is_refused(scene.tenant.get(elsewhere), "cursor")


FILTERED = [path for path in LISTS if path.startswith(("/planner", "/writer"))]


@pytest.mark.parametrize("path", FILTERED)
def test_a_list_can_be_of_one_status(scene, path):
    path = path.format(**scene.ids)
    whole = scene.tenant.get(path).json()["items"]
    statuses = {item["status"] for item in whole}
    for status in statuses:
        found = scene.tenant.get(f"{path}&status={status}").json()["items"]
        assert found == [item for item in whole if item["status"] == status]
    assert scene.tenant.get(f"{path}&status=unheard_of").json()["items"] == []
    assert scene.tenant.get(f"{path}&status=").json()["items"] == whole
    for status in ("%00", "UPPER", "a-b", "a" * 33, "'", "%20"):
        assert is_refused(scene.tenant.get(f"{path}&status={status}"), "status"), status


def test_pages_have_the_standard_sizes(scene):
    tenant = scene.tenant
    before, tenant.site_id = tenant.site_id, scene.ids["idle_site"]
    tenant.add_keywords(*(f"word {number}" for number in range(60)))
    tenant.site_id = before
    path = f"/planner/keywords?site_id={scene.ids['idle_site']}"
    assert len(tenant.get(path).json()["items"]) == 50
    run = f"/automation/logs?run_id={scene.ids['run']}&lines="
    for lines in ("0", "-1", "1001", "abc", "1e3", ""):
        assert is_refused(tenant.get(run + lines), "lines"), lines


# Ids: of wrong form, unknown, foreign, blank, missing.

BY_ID = {
    "GET /automation/config?site_id=": "site",
    "PUT /automation/update_config?site_id=": "site",
    "POST /automation/run_now?site_id=": "site",
    "GET /automation/current_run?site_id=": "site",
    "GET /automation/run?run_id=": "run",
    "GET /automation/history?site_id=": "site",
    "GET /automation/logs?run_id=": "run",
    "GET /automation/estimate?site_id=": "site",
    "GET /automation/pipeline_overview?site_id=": "site",
    "GET /automation/current_processing?site_id=": "site",
    "GET /automation/current_processing?run_id=": "run",
    "POST /automation/pause?run_id=": "run",
    "POST /automation/resume?run_id=": "run",
    "POST /automation/cancel?run_id=": "run",
    "GET /automation/events?run_id=": "run",
    "GET /automation/stream?run_id=": "run",
    "GET /automation/stream?site_id=": "site",
    "GET /automation/why?site_id=": "site",
    "GET /automation/audit_head?site_id=": "site",
    "POST /planner/keywords?site_id=": "site",
    "GET /planner/keywords?site_id=": "site",
    "GET /planner/clusters?site_id=": "site",
    "GET /planner/ideas?site_id=": "site",
    "GET /writer/tasks?site_id=": "site",
    "GET /writer/content?site_id=": "site",
    "GET /writer/images?site_id=": "site",
    "GET /writer/content/": "article",
    "POST /writer/content/{}/approve": "article",
    "GET /commands/": "command",
    "GET /account/ai_tasks?run_id=": "run",
}
BODIES = {
    "/automation/update_config?site_id=": {"stage_1_batch_size": 1},
    "/planner/keywords?site_id=": {"keywords": []},
}
IMPOSSIBLE = ("%00", "A", "a" * 65, "..%2f..", "%5c", "a%20b", "%F0%9F%98%80", "a'--", "%FF", "+")


@pytest.mark.parametrize("address", BY_ID)
def test_what_cannot_be_an_id_and_what_is_none_are_the_same_404(scene, address):
    method, path = address.split(" ")
    body = {} if method == "GET" else {"json": BODIES.get(path, {})}
    kind = BY_ID[address]
    answers = set()
    for one in (*IMPOSSIBLE, f"{kind}-unknown", derive(kind, "unknown")):
        url = path.format(one) if "{}" in path else path + one
        answer = scene.client.ask(method, url, scene.tenant.key, **body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), url
        answers.add(answer.content)
    assert len(answers) == 1


@pytest.mark.parametrize("text", ["", "\0", "A", "é", "a" * 65, "a b", "a\n", "../a", "\ufffd"])
def test_what_cannot_be_an_id_never_gets_to_a_query(text):
    with pytest.raises(NotFound):
        known_form(text)


def test_a_missing_id_is_a_400_that_names_it(scene):
    for address, kind in BY_ID.items():
        method, path = address.split(" ")
        if path.endswith("_id=") and "current_processing" not in path and "ai_tasks" not in path:
            body = {} if method == "GET" else {"json": BODIES.get(path, {})}
            answer = scene.client.ask(method, path.partition("?")[0], scene.tenant.key, **body)
            named = "run_id" if "stream" in path else f"{kind}_id"
            assert is_refused(answer, named), (address, answer.text)
    nothing = scene.tenant.get("/automation/current_processing")
    assert is_refused(nothing, "site_id")


def test_a_blank_id_is_a_400_where_one_is_needed_and_is_none_where_it_may_be(scene):
    for path in (
        "/automation/config?site_id=",
        "/automation/run?run_id=",
        "/planner/ideas?site_id=",
    ):
        assert is_refused(scene.tenant.get(path), path.partition("?")[2].rstrip("=")), path
    for path in (
        "/account/ai_tasks?run_id=",
        f"/automation/current_processing?site_id={scene.ids['site']}&run_id=",
    ):
        assert scene.tenant.get(path).status_code == 200, path

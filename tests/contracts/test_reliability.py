"""The page is made of what was measured, and nothing else."""

import json
import re

from tests.chaos.faults import FAULTS
from tests.chaos.report import BEGIN, END, PAGE, TITLES, latest, page
from tests.chaos.scenario import slug

RESULT = {
    "fault": "api killed",
    "seed": 7,
    "held_seconds": 0.1,
    "recovered_seconds": 4.5,
    "rest_seconds": 6.0,
    "repeated": {"batches": 30, "asked_again": 1, "reported_again": 2, "charged_twice": 0},
    "answers": {"202": 3, "none": 2},
    "slowest_answer": 0.4,
    "findings": [],
}


def test_a_row_is_the_last_result_of_its_fault_and_other_tables_stay():
    old = json.dumps(RESULT | {"seed": 6})
    before = f"above\n{BEGIN}\n## {TITLES['real'][0]}\n\n| kept |\n\n{END}below\n"
    text = page(before, {"embedded": latest([old, json.dumps(RESULT)])})
    assert "make chaos ONLY=api-killed SEED=7`" in text
    assert "a new run was through 4.5 s after healing; all at rest after 6 s" in text
    assert "of 30 batches 1 asked for again, 2 reported again, 0 charged twice" in text
    assert "SEED=6" not in text
    assert "| kept |" in text
    assert page(text, {}) == text


def test_what_was_found_stands_out():
    found = RESULT | {"findings": ["a run was lost"]}
    text = page(f"{BEGIN}{END}", {"embedded": {"api killed": found}})
    assert text.count("not measured yet") > 20
    assert "**not as expected: a run was lost**" in text


def test_every_fault_can_be_chosen_by_its_name_and_stands_on_the_page():
    names = [slug(scenario.name) for scenario in FAULTS]
    assert len(set(names)) == len(names)
    told = PAGE.read_text()
    assert [name for name in names if not re.search(rf"ONLY={re.escape(name)}[ `]", told)] == []

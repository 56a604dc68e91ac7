"""A model that does what it is told: it answers each prompt of ours in its shape."""

import asyncio
import json
import re
from typing import Any

from tests.providers.server import Answer, Asked, completion, response


def between(text: str, tag: str) -> list[str]:
    """Return the lines of a prompt's part."""
    found = re.search(rf"<{tag}>\n(.*?)\n</{tag}>", text, re.DOTALL)
    lines = found[1].splitlines() if found else []
    return [line.removeprefix("- ") for line in lines if line != "(none)"]


def reply(task: str) -> Any:
    """Return what a willing model says: text, or what is said in JSON."""
    if "Name the topic" in task:
        groups = [line.partition(": ") for line in between(task, "groups")]
        intent = {"intent": "commercial"} if "Say also what" in task else {}
        named = [
            {"group": int(number), "name": f"About {words.split(';')[0]}", **intent}
            for number, _, words in groups
        ]
        return {"groups": named}
    if "Suggest " in task:
        topic = between(task, "topic")[0]
        keywords = between(task, "keywords")
        headings = ["What It Is", "What It Costs", "How to Begin"]
        return {
            "ideas": [{"title": f"{topic} in Practice", "headings": headings, "keywords": keywords}]
        }
    if "Say for each section" in task:
        sections = [f"It tells all about {one}." for one in between(task, "headings")]
        return {
            "sections": sections,
            "questions": ["Is it hard?", "Who helps?"],
            "questions_heading": "Frequently Asked Questions",
        }
    if "Write the introduction" in task:
        return "It is simple. Read on."
    if "Now write the section" in task:
        heading, links = between(task, "heading")[0], between(task, "links")
        keywords = ", ".join(between(task, "keywords"))
        return (
            f"## {heading}\n\nOf {keywords} and [elsewhere](https://evil.test/). {' '.join(links)}"
        )
    if "Answer these questions" in task:
        return "\n\n".join(f"### {one}\n\nYes." for one in between(task, "questions"))
    if "meta_title" in task:
        return {"meta_title": "A Title", "meta_description": "What the reader gets, in a sentence."}
    if "The reviewer wants" in task:
        return "\n".join(between(task, "text")) + "\n\nMended."
    if "picture editor" in task or "featured picture" in task:
        section = between(task, "sections")[0].partition(":")[0]
        return {
            "featured": {"text": "A desk in the morning.", "alt": "A desk"},
            "others": [{"section": section, "text": "A lamp at night.", "alt": "A lamp"}],
        }
    raise AssertionError(task)


def willing() -> Answer:
    """Answer every chat as a willing model."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        said = reply(asked.body["messages"][-1]["content"])
        text = said if isinstance(said, str) else json.dumps(said)
        writer.write(response(200, json.dumps(completion(text)).encode()))

    return answer

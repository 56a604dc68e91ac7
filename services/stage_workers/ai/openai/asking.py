"""Asks a model for text or for a typed answer: once more when the shape is wrong, then no more."""

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_ai import Agent, ModelMessage, ModelResponse, NativeOutput, PromptedOutput
from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import TextPart, ThinkingPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings

from services.stage_workers.ai.model import AnswerRejected, Call, RequestDeclined
from services.stage_workers.ai.openai.failures import NotSupported
from services.stage_workers.ai.openai.line import About, Dialect, Line
from services.stage_workers.ai.prompts.reading import Filled

Shape = TypeVar("Shape", bound=BaseModel)

THOUGHTS = 8_000  # tokens that a reasoning model may think before it answers
PROBLEM = 500  # characters of what was wrong, for the model to mend
THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
FENCE = re.compile(r"\A```[a-z]*\n(.*?)\n?```\Z", re.DOTALL)


class Misshapen(Exception):
    """The model answered, and not in the shape that was asked for."""


@dataclass(frozen=True, slots=True)
class Text:
    """What a model wrote; not whole where it was cut off at the tokens that it may use."""

    said: str
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks one model; `calls` gets an entry for each attempt."""

    line: Line
    model: str
    calls: list[Call]

    async def text(self, asked: Filled, most: int) -> Text:
        """Return plain text of at most so many tokens.

        Raises ItemFailed or ProviderHalted.
        """
        problem = ""
        for _ in range(2):
            try:
                return await self._text(asked, most, problem)
            except Misshapen as wrong:
                problem = str(wrong)
        raise AnswerRejected("the AI model answers nothing, also when asked again")

    async def _text(self, asked: Filled, most: int, problem: str) -> Text:
        answer, is_whole = await self._run(asked, _agent_of(None, native=False), most, problem)
        return Text(answer, is_whole)

    async def typed(self, asked: Filled, shape: type[Shape], most: int) -> Shape:
        """Return the answer in its shape, by the server's own schemas where it knows them.

        Raises ItemFailed or ProviderHalted.
        """
        problem = ""
        for _ in range(2):
            try:
                return await self._typed(asked, shape, most, problem)
            except Misshapen as wrong:
                problem = str(wrong)
        raise AnswerRejected("the AI model's answer has the wrong shape, also when asked again")

    async def _typed(self, asked: Filled, shape: type[Shape], most: int, problem: str) -> Shape:
        dialect = self.line.dialect(self.model)
        if dialect.knows_schemas is not False:
            try:
                answer: Shape
                answer, _ = await self._run(asked, _agent_of(shape, native=True), most, problem)
            except NotSupported:
                if dialect.knows_schemas:
                    raise  # it is something else that the server does not take
            except Misshapen:
                dialect.knows_schemas = True
                raise
            else:
                dialect.knows_schemas = True
                return answer
        said = replace(asked, task=f"{asked.task}\n\n{schema_of(shape)}")
        mended: Shape
        mended, _ = await self._run(said, _agent_of(shape, native=False), most, problem)
        dialect.knows_schemas = False
        return mended

    async def _run(
        self, asked: Filled, agent: Agent[None, Any], most: int, problem: str
    ) -> tuple[Any, bool]:
        task = asked.task
        if problem:
            task = f"{task}\n\nYour last answer could not be used: {problem}\nAnswer anew."
        model = Asked(self, asked.name, most)
        try:
            result = await agent.run(task, model=model, instructions=asked.role)
        except UnexpectedModelBehavior as wrong:
            model.blame("the answer has the wrong shape")
            raise Misshapen(str(wrong.__cause__ or wrong)[:PROBLEM]) from None
        return result.output, result.response.finish_reason != "length"


class Asked(WrapperModel):
    """The model as one ask sees it: its requests go through the line, and are told in its words."""

    def __init__(self, asker: Asker, prompt: str, most: int) -> None:
        self._asker, self._prompt, self._most = asker, prompt, most
        self._last = -1
        self._dialect = asker.line.dialect(asker.model)
        super().__init__(self._model())

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Return the response. Raises ItemFailed or ProviderHalted, and nothing of the library."""
        settings = ModelSettings(**(model_settings or {}))
        try:
            return await self._send(messages, settings, model_request_parameters)
        except NotSupported as refusal:
            if not learned(self._dialect, str(refusal)):
                raise
        return await self._send(messages, settings, model_request_parameters)

    async def _send(
        self, messages: list[ModelMessage], settings: ModelSettings, params: ModelRequestParameters
    ) -> ModelResponse:
        asker, dialect = self._asker, self._dialect
        most = self._most + (THOUGHTS if dialect.thinks else 0)
        about = About(self._prompt, asker.model, most)
        settings["max_tokens"] = most
        model = self._model()
        response = await asker.line.call(
            lambda: model.request(messages, settings, params), about, self._enter
        )
        if any(isinstance(part, ThinkingPart) for part in response.parts):
            dialect.thinks = True
        if response.finish_reason == "content_filter":
            error = "the AI provider declines this by its policy"
            self.blame(error)
            raise RequestDeclined(error)
        text = THOUGHT.sub("", _text(response)).strip()
        found = unfenced(text) if params.output_mode == "text" else json_in(text)
        return replace(response, parts=[TextPart(found)] if found else [])

    def blame(self, error: str) -> None:
        """Enter with the last call of this ask that its answer was of no use."""
        calls = self._asker.calls
        calls[self._last] = replace(calls[self._last], error=error)

    def _enter(self, call: Call) -> None:
        self._last = len(self._asker.calls)  # others who share the list ask at the same time
        self._asker.calls.append(call)

    def _model(self) -> OpenAIChatModel:
        return _chat_model(self._asker.line, self._asker.model, self._dialect)


def learned(dialect: Dialect, refusal: str) -> bool:
    """Learn from a refusal how the limit of tokens is said; tell whether there was anything."""
    says = "max_completion_tokens" in refusal
    if not dialect.says_completion and says:
        dialect.says_completion = True
        return True
    if dialect.says_completion and (says or "max_tokens" in refusal):
        dialect.says_completion = False
        return True
    return False


def json_in(text: str) -> str:
    """Return the JSON object within the text: models fence it, and say hello first."""
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text


def unfenced(text: str) -> str:
    """Return the text without a code fence around all of it."""
    found = FENCE.fullmatch(text)
    return found[1].strip() if found else text


def schema_of(shape: type[BaseModel]) -> str:
    """Return the sentence that asks a server without schemas for one."""
    schema = json.dumps(shape.model_json_schema(), ensure_ascii=False)
    return f"Answer with one JSON object of this JSON schema, and with nothing else:\n{schema}"


@cache
def _agent_of(shape: type[BaseModel] | None, *, native: bool) -> Agent[None, Any]:
    if shape is None:
        return Agent(output_type=str, retries=0)
    output: Any = NativeOutput(shape) if native else PromptedOutput(shape, template=False)
    return Agent(output_type=output, retries=0)


def _chat_model(line: Line, name: str, dialect: Dialect) -> OpenAIChatModel:
    profile = OpenAIModelProfile(
        supports_json_schema_output=True,
        supports_json_object_output=False,
        openai_chat_supports_max_completion_tokens=dialect.says_completion,
    )
    provider = OpenAICompatibleProvider("septet", openai_client=line.client)
    return OpenAIChatModel(name, provider=provider, profile=profile)


def _text(response: ModelResponse) -> str:
    return "".join(part.content for part in response.parts if isinstance(part, TextPart))

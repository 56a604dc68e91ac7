"""What commands print: tables or JSON, errors with what to do next, the exit codes."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from itertools import pairwise
from typing import Annotated, Any, TypeVar, get_args

import typer
from typer.core import TyperGroup

from services.logs import printable

START_HERE, PIPELINE, OPERATE, PROCESSES = "Start here", "Pipeline", "Operate", "One process each"
PANELS = (START_HERE, PIPELINE, OPERATE, PROCESSES)


class Code(IntEnum):
    """The exit codes; Ctrl-C is 130, as in every shell."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_SIGNED_IN = 4
    INTERRUPTED = 130


class Format(StrEnum):
    """How results and errors are printed."""

    TEXT = "text"
    JSON = "json"


class Failed(Exception):
    """A command could not do what it was asked to; the sentence says what to do about it."""

    def __init__(
        self, sentence: str, code: Code = Code.FAILED, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code
        self.problem = problem or {"code": code.name.lower(), "detail": sentence}


Given = TypeVar("Given")
FORMAT: ContextVar[Format] = ContextVar("septet_output", default=Format.TEXT)


def _choose(chosen: Format | None) -> Format | None:
    if chosen is not None:
        FORMAT.set(chosen)
    return chosen


Output = Annotated[
    Format | None,
    typer.Option("--output", help="text, or json: one object, or one a line", callback=_choose),
]


class Commands(TyperGroup):
    """The root: it knows every error that a person can do something about, and says it one way."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order of their panels."""
        place = {panel: number for number, panel in enumerate(PANELS)}

        def order(name: str) -> int:
            return place[getattr(self.commands[name], "rich_help_panel", None) or OPERATE]

        return sorted(super().list_commands(ctx), key=order)

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run a command line and end the process with the command's exit code."""
        given = arguments[0] if arguments else options.get("args")
        FORMAT.set(_asked_for(sys.argv[1:] if given is None else given))
        standalone = options.get("standalone_mode", True)
        try:
            code = super().main(*arguments, **options | {"standalone_mode": False})
        except Failed as failed:
            complain(failed)
            code = failed.code
        except typer.TyperException as wrong:
            message = wrong.format_message() or "Missing command."
            complain(Failed(f"{as_sentence(message)} See septet --help", Code.USAGE))
            code = Code.USAGE
        except typer.Abort:
            code = Code.INTERRUPTED
        if standalone:
            sys.exit(code if isinstance(code, int) else Code.OK)
        return code


class Either:
    """Marks a parameter that is given by its place or by an option: RUN, or --run RUN.

    The option is called as the parameter is, unless `options` say otherwise; `limits` are Typer's.
    """

    def __init__(self, help_text: str, *options: str, **limits: Any) -> None:
        self.help_text = help_text
        self.options = options
        self.limits = limits

    def parameters(self, own: Parameter) -> tuple[Parameter, Parameter]:
        """Return the two parameters that Typer is shown in place of the command's own."""
        place, names = own.name.upper(), self.options or (f"--{own.name}",)
        argument = typer.Argument(help=self.help_text, **self.limits)
        option = typer.Option(*names, help=f"The same as {place}", **self.limits)
        kind = get_args(own.annotation)[0] | None
        return (
            _parameter(own.name, Annotated[kind, argument]),
            _parameter(_optional(own.name), Annotated[kind, option]),
        )

    def chosen(self, own: Parameter, given: dict[str, Any]) -> Any:
        """Take both out of what is given and return the one.

        Raises Failed when both are given, or neither where one is needed.
        """
        place, option = own.name.upper(), (self.options or (f"--{own.name}",))[0]
        one, other = given.pop(own.name), given.pop(_optional(own.name))
        if one is not None and other is not None:
            said = f"{place} is given twice: {one}, and {option} {other}. Give it once"
            raise Failed(said, Code.USAGE)
        found = other if one is None else one
        if found is None and own.default is Parameter.empty:
            raise Failed(f"{place} is missing: give it, or {option}. See --help", Code.USAGE)
        return found


def command(
    app: typer.Typer, name: str, panel: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command that also takes `--output`, and each `Either` both ways."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = signature(function, eval_str=True).parameters
        twofold = {one.name: either for one in own.values() if (either := _either(one))}

        @wraps(function)
        def run(*, output: Format | None = None, **given: Any) -> None:
            del output  # chosen while it was parsed
            for known, either in twofold.items():
                given[known] = either.chosen(own[known], given)
            function(**given)

        shown = [part for one in own.values() for part in _shown(one)]
        shown.append(_parameter("output", Output))
        run.__signature__ = Signature(shown)  # type: ignore[attr-defined]  # where Typer looks first
        run.__annotations__ = {one.name: one.annotation for one in shown}
        app.command(name, rich_help_panel=panel)(run)
        return function

    return register


def group(help_text: str) -> typer.Typer:
    """Return a noun that verbs are registered under; it takes `--output` as they do."""
    noun = typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)

    @noun.callback()
    def chosen(output: Output = None) -> None:
        del output  # chosen while it was parsed

    return noun


def needed(what: str, *given: Given | None) -> Given:
    """Return the first that was given. Raises Failed when none was."""
    for value in given:
        if value is not None:
            return value
    raise Failed(f"{what} is missing. See --help", Code.USAGE)


def as_json() -> bool:
    """Tell whether results are printed as JSON."""
    return FORMAT.get() is Format.JSON


def emit(answer: Any, text: str) -> None:
    """Print a result: the answer as one line of JSON, or the text."""
    say(json.dumps(answer, ensure_ascii=False, default=str) if as_json() else text)


def say(line: str) -> None:
    """Print a line on stdout, at once: somebody may be following through a pipe."""
    print(line, flush=True)  # noqa: T201  # results go to stdout


def note(line: str) -> None:
    """Print a line on stderr: not a result."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201  # everything but results goes to stderr


def complain(failed: Failed) -> None:
    """Print why a command failed, on stderr."""
    if as_json():
        note(json.dumps({"error": dict(failed.problem)}, ensure_ascii=False, default=str))
    else:
        note(f"error: {printable(failed.sentence)}")


def as_sentence(text: str) -> str:
    """Return the text with an end, so that another sentence can follow."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return aligned columns, numbers to the right; nothing is cut off, so ids can be copied."""
    cells = [[cell(value) for value in row] for row in rows]
    columns = list(zip(heads, *cells, strict=True)) if cells else [(head,) for head in heads]
    widths = [max(len(text) for text in column) for column in columns]
    right = [
        bool(rows) and all(isinstance(row[n], int | float | None) for row in rows)
        for n in range(len(heads))
    ]
    lines = [
        "  ".join(
            text.rjust(width) if aligned else text.ljust(width)
            for text, width, aligned in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in ([head.upper() for head in heads], *cells)
    ]
    return "\n".join(lines)


def cell(value: object) -> str:
    """Return a value as people read it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.1f}"
        case _:
            return printable(str(value))


def local(at: str | None) -> str:
    """Return a time of the API in this machine's zone."""
    if at is None:
        return "-"
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def facts(pairs: Mapping[str, object]) -> str:
    """Return names and values, one a line."""
    width = max(len(name) for name in pairs)
    return "\n".join(f"{name.ljust(width)}  {cell(value)}" for name, value in pairs.items())


def _either(own: Parameter) -> Either | None:
    marks = [one for one in get_args(own.annotation)[1:] if isinstance(one, Either)]
    return marks[0] if marks else None


def _shown(own: Parameter) -> Sequence[Parameter]:
    """Return what Typer is shown of a parameter; it gives every value by name."""
    either = _either(own)
    return either.parameters(own) if either else [own.replace(kind=Parameter.KEYWORD_ONLY)]


def _parameter(name: str, annotation: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _optional(name: str) -> str:
    return f"{name}_option"


def _asked_for(arguments: Sequence[str]) -> Format:
    """Return the format as far as it can be known before the arguments are parsed."""
    pairs = pairwise([*arguments, ""])
    wanted = any(
        one == "--output=json" or (one == "--output" and other == "json") for one, other in pairs
    )
    return Format.JSON if wanted else Format.TEXT

"""The scripted model's mind: `reply(request body) -> Reply`, a pure function.

What it answers depends on the conversation in the request and on nothing else, so that a lost
history shows. HELP is its grammar.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from worker.local.model.conversation import Call, Conversation, parse, summary
from worker.local.model.directives import Directives, Fault, parse_directives, without_directives
from worker.local.model.plan import NotPossibleError, Use, plan
from worker.local.model.schema import example

HELP = """I am a scripted model: I answer by fixed rules, from the conversation I am shown.
  hello                     any text: I count your messages and quote the first and the last
  remember KEY is VALUE     I acknowledge; also "my name is X", "my KEY is X"
  what is KEY               I look it up in your messages; also "what is my name"
  what did I say first      or: what did I say last
  write FILE: CONTENT       I call the Write tool (Bash when I cannot)
  read FILE                 I call the Read tool (Bash when I cannot)
  run COMMAND               I call the Bash tool
  call TOOL {"key": 1}      I call any tool by its name, with this input
  steps: run A; write F: B  one tool call after another, each after the result of the one before
  continue                  I go on with the steps that are left
After tool results I quote them. When the request asks for structured output, I fill its schema.

Directives for tests, anywhere in the last message:
  [[status 529]]            the request fails with this HTTP status
  [[hang]]                  no first byte, ever
  [[stall]]                 the beginning of an answer, then silence
  [[disconnect]]            the beginning of an answer, then the connection closes
  [[status 529 times 2]]    any of these four: only the first 2 requests with this message
  [[after 1]]               these four begin only when the message has 1 tool result
  [[delay 0.5]]             seconds before the first byte
  [[slow 0.02]]             seconds before each piece of a streamed answer
  [[long 200000]]           an answer of so many characters"""

_SCHEMA_TOOL = "StructuredOutput"  # the CLI's tool for --json-schema
_QUOTED_CHARACTERS = 200
_RESULT_CHARACTERS = 600

_SUMMARIZE = re.compile(r"\bcreate a detailed summary of\b")
_FACT = re.compile(
    r"\bremember (?:that )?(?P<key>.{1,100}?) is (?P<value>[^\n]+)"
    r"|\b(?P<own>my [\w -]{1,60}?) is (?P<owned>[^\n]+)",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"\bwhat(?:'s| is) (?P<key>[^?\n]{1,100}?)[\s?]*$", re.IGNORECASE)
_RECALL = re.compile(r"\bwhat did i say (?P<which>first|last)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Say:
    """A text block."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model answers, and how its service misbehaves while it does.

    `faults` are tried in order and the first that still has `times` left happens; `message` is
    the text that the times are counted for. `delay` and `slow` are seconds.
    """

    content: tuple[Say | Use, ...]
    faults: tuple[Fault, ...] = ()
    message: str = ""
    delay: float = 0.0
    slow: float = 0.0

    @property
    def calls_tool(self) -> bool:
        return any(isinstance(block, Use) for block in self.content)


def reply(body: object) -> Reply:
    """Answer a decoded Messages API request body. Raises MalformedRequestError."""
    conversation = parse(body)
    directives = parse_directives(conversation.last_text)
    output_format = _output_format(body)
    return Reply(
        content=_content(conversation, directives, output_format),
        faults=directives.faults if len(conversation.calls) >= directives.after else (),
        message=conversation.last_text,
        delay=directives.delay,
        slow=directives.slow,
    )


def _content(
    conversation: Conversation, directives: Directives, output_format: object
) -> tuple[Say | Use, ...]:
    calls = [call for call in conversation.calls if call.name != _SCHEMA_TOOL]
    task = without_directives(conversation.task)
    try:
        planned = plan(task, conversation.tools, conversation.working_directory)
    except NotPossibleError as exc:
        return (Say(str(exc)),)
    if len(calls) < len(planned):
        use = planned[len(calls)]
        return (Say(f"I call {use.name}."), use)
    text = _report(calls) if calls else _answer(task, conversation)
    text = _lengthened(text, directives.long)
    if _SCHEMA_TOOL in conversation.tools and len(calls) == len(conversation.calls):
        filled = example(conversation.tools[_SCHEMA_TOOL], text)
        return (Use(_SCHEMA_TOOL, filled if isinstance(filled, Mapping) else {}),)
    if output_format is not None:
        return (Say(json.dumps(example(output_format, text))),)
    return (Say(text),)


def _answer(task: str, conversation: Conversation) -> str:
    said = [without_directives(text) for text in conversation.texts]
    if task.casefold() == "help":
        return HELP
    if _SUMMARIZE.search(task):
        return f"<summary>\n{summary(said[:-1])}\n</summary>"
    if recall := _RECALL.search(task):
        return _recalled(recall["which"].lower(), said)
    if question := _QUESTION.search(task):
        return _looked_up(question["key"], said[:-1])
    if facts := list(_facts([task])):
        return " ".join(f"I will remember: {key} is {value}." for key, value in facts)
    first = f"; the first was '{_quoted(said[0])}'" if len(said) > 1 else ""
    return (
        f"Hello! This is message {len(said)} of our conversation{first}. "
        f"You said: '{_quoted(task)}'"
    )


def _recalled(which: str, said: list[str]) -> str:
    if len(said) < 2:  # noqa: PLR2004 - the question itself is one
        return "This is the first thing that you say to me."
    return f"You said {which}: '{_quoted(said[0] if which == 'first' else said[-2])}'"


def _looked_up(key: str, said: list[str]) -> str:
    known = {_normal(known): value for known, value in _facts(said)}
    own = re.sub(r"\bmy\b", "your", key, flags=re.IGNORECASE)
    if (value := known.get(_normal(key))) is None:
        return f"I don't know what {own} is: you have not told me in this conversation."
    return f"You told me that {own} is {value}."


def _facts(texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in texts:
        for found in _FACT.finditer(text):
            yield found["key"] or found["own"], (found["value"] or found["owned"]).strip(" .!")


def _normal(key: str) -> str:
    return re.sub(r"^(?:the|a) ", "", " ".join(key.casefold().split()))


def _report(calls: list[Call]) -> str:
    lines = []
    for call in calls:
        verb = "failed" if call.failed else "returned"
        lines.append(f"{call.name} {verb}: {_shortened(call.result or '', _RESULT_CHARACTERS)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return _shortened(" ".join(text.split()), _QUOTED_CHARACTERS)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def _lengthened(text: str, characters: int) -> str:
    if not characters:
        return text
    filler = " And so on, as long as you asked for."
    return (text + filler * (characters // len(filler) + 1))[:characters]


def _output_format(body: object) -> object:
    """The schema of `output_config.format`, with which the CLI asks for titles and the like."""
    config = body.get("output_config") if isinstance(body, Mapping) else None
    wanted = config.get("format") if isinstance(config, Mapping) else None
    return wanted.get("schema") if isinstance(wanted, Mapping) else None

"""What is processed while one call of its worker goes wrong: each ending that a message can have.

`{tag}` is the job's own, `{effect} {tag}.N S` a tool call that writes the line `tag.N` after S
seconds, into a file that all chats share and into one of the chat's own.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scenario:
    """`fields` are the request's besides; `tools` says how many lines the job's tool calls write.

    `heartbeats`: the turn lasts long enough for one, whatever the machine. `least` is the number
    of port calls that the scenario cannot have less of. `seconds`: on Lambda, with so much time.
    """

    name: str
    text: str
    least: int
    ends: str = "completed"
    tools: int = 0
    fields: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    history: bool = False
    heartbeats: bool = False
    seconds: float | None = None


PLAIN = Scenario("a plain turn", "hello {tag}", 10)
TOOLS = Scenario(
    "a turn with tool calls",
    "steps: run {effect} {tag}.1 0; run {effect} {tag}.2 2.5",
    18,
    tools=2,
    heartbeats=True,
)
REJECTED = Scenario(
    "a rejected message", "hello {tag}", 6, ends="rejected", fields={"model": "gpt-4"}
)
FAILED = Scenario("a turn that fails for good", "hello {tag} [[status 400]]", 10, ends="failed")
RETRIED = Scenario("a turn that fails once", "hello {tag} [[status 529 times 1]]", 16)
LARGE = Scenario("a large result", "hello {tag} [[long 300000]]", 11)
CONTINUED = Scenario("a turn of a chat that has a history", "hello {tag}", 10, history=True)
CONTINUED_WITH_TOOLS = Scenario(
    "a turn with a tool call, in a chat that has files",
    "steps: run {effect} {tag}.1 0",
    14,
    tools=1,
    history=True,
)
SLICED = Scenario(
    "a sliced turn on Lambda",
    "steps: " + "; ".join(f"run {{effect}} {{tag}}.{n} 1.2" for n in range(1, 5)),
    20,
    tools=4,
    seconds=5.0,
    settings={"MAX_SLICES": "50"},
)
ON_LAMBDA = Scenario("a plain turn on Lambda", "hello {tag}", 9, seconds=60.0)

SCENARIOS = (
    PLAIN,
    TOOLS,
    REJECTED,
    FAILED,
    RETRIED,
    LARGE,
    CONTINUED,
    CONTINUED_WITH_TOOLS,
    ON_LAMBDA,
    SLICED,
)

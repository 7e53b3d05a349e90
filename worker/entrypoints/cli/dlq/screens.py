"""What the dlq commands show: made from values alone, readable at 80 columns."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from worker.entrypoints.cli.words import dollars, shortened, span
from worker.replay.case import Case, grouped
from worker.replay.desk import View
from worker.replay.letter import REDRIVEN
from worker.replay.plan import Action, Plan, Step

REASONS = {REDRIVEN: "redriven by SQS"}

COLOURS = {
    Action.RUN: "green",
    Action.PUBLISH: "cyan",
    Action.ARCHIVE: "blue",
    Action.LEAVE: "yellow",
}


def groups(cases: Sequence[Case], view: View, now: float) -> RenderableType:
    """Letters by kind of failure, with the latest error of each."""
    head = _row("group", "reason", "letters", "chats", "first", "last")
    lines: list[RenderableType] = [Text(head, style="dim")]
    for group in grouped(cases):
        reason = shortened(REASONS.get(group.reason, group.reason), 32)
        ages = span(now - group.first), span(now - group.last)
        row = Text(_row(group.name, reason, str(group.letters), str(group.chats), *ages))
        row.stylize("bold", 0, 8)
        row.stylize("red", 8, 8 + len(reason))
        lines += [row, Padding(Text(shortened(group.error, 140), style="dim"), (0, 0, 0, 8))]
    return Lines(*lines, Text(), summary(cases, view))


def _row(group: str, reason: str, letters: str, chats: str, first: str, last: str) -> str:
    return f"{group:<8}{reason:<34}{letters:>8}{chats:>7}{first:>11}{last:>11}"


def letters(cases: Sequence[Case], view: View, now: float, limit: int) -> RenderableType:
    """Letters one by one, in the order of their chats' turns."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("letter", no_wrap=True)
    table.add_column("group", no_wrap=True)
    table.add_column("reason", overflow="fold")
    table.add_column("chat", no_wrap=True)
    table.add_column("job", overflow="fold")
    table.add_column("job is", no_wrap=True)
    table.add_column("dead for", justify="right", no_wrap=True)
    for case in cases[:limit]:
        letter = case.letter
        edited = f" v{letter.origin.version}" if letter.origin.version else ""
        table.add_row(
            Text(f"{letter.id[:8]}{edited}", style="bold"),
            case.group,
            Text(REASONS.get(case.reason, case.reason), style="red"),
            Text(shortened(letter.chat, 14)),
            Text(shortened(letter.job_id, 18)),
            case.record.state.value if case.record else "unknown",
            span(now - letter.since),
        )
    more = len(cases) - limit
    rest = [Text(f"and {more} more: --limit {len(cases)}", style="dim")] if more > 0 else []
    return Lines(table, *rest, Text(), summary(cases, view))


def summary(cases: Sequence[Case], view: View) -> RenderableType:
    """How many there are, and how many could not be seen."""
    chats = len({case.letter.chat for case in cases})
    lines = [Text(f"{counted(len(cases), 'dead letter')} of {counted(chats, 'chat')}")]
    if view.copies:
        lines.append(
            Text(
                f"{counted(len(view.copies), 'older copy', 'older copies')} beside them, which an "
                "edit or a replay left that was cut off; the next replay takes them away",
                style="yellow",
            )
        )
    if view.elsewhere:
        lines.append(
            Text(
                f"about {view.elsewhere} more are held by another reader or replay just now",
                style="yellow",
            )
        )
    if view.behind:
        lines.append(
            Text(
                f"about {view.behind} more stand behind others of their chat: of the letters that "
                "SQS moved here itself it shows ten of a chat. Replay or discard these first",
                style="yellow",
            )
        )
    return Lines(*lines)


def plan(made: Plan, limit: int = 20) -> RenderableType:
    """What a replay would do: in sum, by what is done and why, then letter by letter."""
    sums = Table(box=None, pad_edge=False, show_header=False)
    sums.add_column(justify="right", no_wrap=True)
    sums.add_column(no_wrap=True)
    sums.add_column(overflow="fold")
    kinds = Counter((step.action, _kind(step)) for step in made.steps)
    for (action, why), number in sorted(kinds.items(), key=lambda k: list(Action).index(k[0][0])):
        sums.add_row(Text(str(number), style="bold"), _word(action), Text(why))
    parts: list[RenderableType] = [sums]
    if made.steps and limit:
        parts += [Text(), _steps(made.steps, limit)]
    parts += [Text(), *_remarks(made)]
    return Lines(*parts)


def _steps(steps: Sequence[Step], limit: int) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("letter", no_wrap=True)
    table.add_column("chat", no_wrap=True)
    table.add_column("job", no_wrap=True)
    table.add_column("would", no_wrap=True)
    table.add_column("about", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for step in steps[:limit]:
        letter = step.case.letter
        why = Text(step.why)
        if step.newer_turns:
            why.append("; newer turns have run", style="yellow")
        cost = "" if step.action is not Action.RUN else _cost(step.cost_usd)
        table.add_row(
            Text(letter.id[:8], style="bold"),
            Text(shortened(letter.chat, 12)),
            Text(shortened(letter.job_id, 14)),
            _word(step.action),
            cost,
            why,
        )
    if len(steps) > limit:
        more = Text(f"and {len(steps) - limit} more: --limit {len(steps)}", style="dim")
        return Lines(table, more)
    return table


def _remarks(made: Plan) -> list[RenderableType]:
    runs = made.count(Action.RUN)
    lines = []
    if runs:
        cost = f"about {dollars(made.known_cost_usd)}" if made.without_cost < runs else "unknown"
        line = Text(f"cost: {cost}, by the average turn of each chat")
        if made.without_cost:
            line.append(f"; {made.without_cost} in chats without a turn so far: unknown")
        lines.append(line)
    newer = sum(step.newer_turns for step in made.steps)
    if newer:
        lines.append(
            Text(
                f"{newer} of them run after newer turns of their chat: the agent sees those first",
                style="yellow",
            )
        )
    if made.skipping:
        some = ", ".join(made.skipping[:5]) + (" ..." if len(made.skipping) > 5 else "")  # noqa: PLR2004
        lines.append(
            Text(
                f"{counted(len(made.skipping), 'chat has', 'chats have')} an earlier letter that "
                f"stays, so later ones overtake it: {some}",
                style="yellow",
            )
        )
    return list(lines)


def _kind(step: Step) -> str:
    """The reason without what differs from letter to letter."""
    why = step.why
    for varying in (step.case.letter.job_id, step.case.letter.chat):
        why = why.replace(varying, "…")
    return why


def _cost(amount: float | None) -> str:
    return "?" if amount is None else dollars(amount)


def _word(action: Action) -> Text:
    return Text(action.value, style=COLOURS[action])


def counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"

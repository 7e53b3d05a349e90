"""`webhooks`: who is sent events over HTTP; what was sent is in webhook_deliveries.py."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from worker.entrypoints.cli import webhook_deliveries
from worker.entrypoints.cli.output import Json, console, fail
from worker.entrypoints.cli.webhook_connection import Id, with_webhooks
from worker.entrypoints.cli.words import instant, iso, span

if TYPE_CHECKING:
    from worker.webhook_bootstrap import Webhooks
    from worker.webhooks.ports import Lane
    from worker.webhooks.subscription import Subscription

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Send events to subscribers over HTTP: signed, retried for days, with a log.

[bold]Subscribe, and see that it works[/bold]:

    agent-worker webhooks add https://example.com/hook --tenant acme
    agent-worker webhooks test wh_1a2b3c4d5e
    agent-worker webhooks log wh_1a2b3c4d5e

[bold]When a subscriber was down[/bold]:

    agent-worker webhooks list
    agent-worker webhooks resume wh_1a2b3c4d5e
    agent-worker webhooks resend wh_1a2b3c4d5e --since 2d

Webhooks follow Standard Webhooks: docs/webhooks.md says how a receiver verifies them.""",
)


_COUNTED = 1000


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="Where to: https://..., any port.")],
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            help="An event type, or a pattern such as 'agent.job.*'; may be repeated. "
            "Default: what ends a job.",
        ),
    ] = None,
    tenants: Annotated[
        list[str] | None, typer.Option("--tenant", help="Only of this tenant; may be repeated.")
    ] = None,
    chats: Annotated[
        list[str] | None, typer.Option("--chat", help="Only of this chat; may be repeated.")
    ] = None,
    description: Annotated[str, typer.Option(help="For people, up to 200 characters.")] = "",
    secret: Annotated[
        str | None,
        typer.Option(help="'-' reads a secret of your own (whsec_...) from standard input."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Subscribe a URL to events. Its secret is shown this once.

    The URL is checked: https, and a host with public addresses only. It gets what happens from now
    on.
    """
    from contracts import new_webhook_secret  # noqa: PLC0415
    from worker.webhooks.subscription import new_subscription  # noqa: PLC0415

    key = _given_secret(secret) or new_webhook_secret()

    async def work(webhooks: "Webhooks") -> "Subscription":
        ports = webhooks.ports
        subscription = new_subscription(
            url,
            key,
            ports.clock.now(),
            types=types or (),
            tenants=tenants or (),
            chats=chats or (),
            description=description,
            allow_loopback=ports.policy.allow_loopback,
        )
        await webhooks.check(url)
        return await ports.store.save(subscription)

    added = with_webhooks(work)
    if as_json:
        sys.stdout.write(json.dumps(_json(added) | {"secret": key}) + "\n")
        return
    console.print(f"subscribed [bold]{added.subscription_id}[/]", highlight=False)
    _show_secret(key)


@app.command("list")
def list_subscriptions(as_json: Json = False) -> None:
    """List the subscriptions."""

    async def work(webhooks: "Webhooks") -> "list[tuple[Subscription, Lane]]":
        store = webhooks.ports.store
        return [(s, await store.lane(s.subscription_id)) for s in await store.subscriptions()]

    found, now = with_webhooks(work), time.time()
    if as_json:
        listed = {"subscriptions": [_json(s) | _lane_json(lane) for s, lane in found]}
        sys.stdout.write(json.dumps(listed) + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("id", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("to", overflow="fold")
    table.add_column("only", overflow="fold")
    for subscription, lane in found:
        table.add_row(
            subscription.subscription_id,
            _state(subscription, lane, now),
            Text(_shown(subscription)),
            Text(_filters(subscription), "dim"),
        )
    console.print(table if found else Text("no subscriptions", style="dim"), highlight=False)


@app.command()
def show(subscription_id: Id, as_json: Json = False) -> None:
    """Show one subscription, how it fares, and its latest attempts."""
    from worker.entrypoints.cli.webhook_log import attempt_table, lines_of  # noqa: PLC0415
    from worker.webhooks import service  # noqa: PLC0415

    async def work(webhooks: "Webhooks") -> "tuple[Subscription, Lane, int, list[Any]]":
        store = webhooks.ports.store
        found = await service.find(subscription_id, webhooks.ports)
        waiting = await store.due(subscription_id, time.time() + 40 * 86400, _COUNTED + 1)
        lines = await lines_of(store.recent(subscription_id), 5, failed=False)
        return found, await store.lane(subscription_id), len(waiting), lines

    (found, lane, waiting, lines), now = with_webhooks(work), time.time()
    if as_json:
        shown = _json(found) | _lane_json(lane) | {"waiting": waiting}
        sys.stdout.write(json.dumps(shown) + "\n")
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    rows = {
        "id": Text(found.subscription_id),
        "to": Text(_shown(found)),
        "state": _state(found, lane, now),
        "description": Text(found.description or "-"),
        "events": Text(", ".join(found.types)),
        "tenants": Text(", ".join(found.tenants) or "all"),
        "chats": Text(", ".join(found.chats) or "all"),
        "secrets": Text(_secrets(found, now)),
        "waiting": Text(f"{waiting if waiting <= _COUNTED else f'over {_COUNTED}'} to be sent"),
        "since": Text(instant(found.created_at)),
    }
    for name, value in rows.items():
        grid.add_row(name, value)
    console.print(grid, highlight=False)
    if lines:
        console.print()
        console.print(attempt_table(lines, now), highlight=False)


@app.command()
def pause(subscription_id: Id) -> None:
    """Send nothing more, until it is resumed. What comes meanwhile can be resent then."""
    from worker.webhooks import service  # noqa: PLC0415

    with_webhooks(lambda webhooks: service.pause(subscription_id, webhooks.ports))
    console.print(
        f"paused; to go on: agent-worker webhooks resume {subscription_id}", highlight=False
    )


@app.command()
def resume(subscription_id: Id) -> None:
    """Send again, after a pause or when a subscriber that was disabled is mended.

    What was waiting goes out now. What was skipped meanwhile: webhooks resend --since.
    """
    from worker.webhooks import service  # noqa: PLC0415

    with_webhooks(lambda webhooks: service.resume(subscription_id, webhooks.ports))
    console.print("resumed", highlight=False)


@app.command()
def rotate(
    subscription_id: Id,
    keep_hours: Annotated[
        float,
        typer.Option(min=0, help="How long the old secret signs, too; 0 if somebody knows it."),
    ] = 24.0,
    secret: Annotated[
        str | None,
        typer.Option(help="'-' reads a secret of your own (whsec_...) from standard input."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Give it a new secret, shown this once. Until the old one ends, both sign."""
    from contracts import InvalidConfiguration, sign_webhook  # noqa: PLC0415
    from worker.webhooks import service  # noqa: PLC0415

    given = _given_secret(secret)
    try:
        if given:
            sign_webhook("check", 0, "", given)
    except InvalidConfiguration as exc:
        fail(str(exc))
    fresh = with_webhooks(
        lambda webhooks: service.rotate(subscription_id, keep_hours * 3600, webhooks.ports, given)
    )
    if as_json:
        shown = {"subscription_id": subscription_id, "secret": fresh, "keep_hours": keep_hours}
        sys.stdout.write(json.dumps(shown) + "\n")
        return
    _show_secret(fresh)
    until = f"signs beside it for {keep_hours:g} h" if keep_hours else "is not used any more"
    console.print(f"the old one {until}", highlight=False)


@app.command()
def remove(
    subscription_id: Id,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a subscription. What waits for it is not sent."""
    from worker.webhooks import service  # noqa: PLC0415

    async def work(webhooks: "Webhooks") -> None:
        found = await service.find(subscription_id, webhooks.ports)
        if not yes and not typer.confirm(f"Remove {subscription_id}, to {_shown(found)}?"):
            raise typer.Exit(1)
        await webhooks.ports.store.remove(subscription_id)

    with_webhooks(work)
    console.print("removed", highlight=False)


app.command("test")(webhook_deliveries.send_test)
app.command()(webhook_deliveries.log)
app.command()(webhook_deliveries.resend)


def _given_secret(option: str | None) -> str | None:
    """From standard input: what is on a command line, every process of the machine can read."""
    if option is None:
        return None
    if option != "-":
        fail("--secret: takes '-', and the secret on standard input, where others do not see it")
    return sys.stdin.readline().strip()


def _show_secret(secret: str) -> None:
    console.print("secret ", end="", highlight=False)
    console.print(secret, style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print("[dim]shown this once: give it to whoever verifies the webhooks[/]")


def _shown(subscription: "Subscription") -> str:
    from worker.webhooks.addresses import shown  # noqa: PLC0415

    return shown(subscription.url)


def _state(subscription: "Subscription", lane: "Lane", now: float) -> Text:
    if subscription.disabled == "paused":
        return Text("paused", "yellow")
    if subscription.disabled:
        return Text(f"disabled: {subscription.disabled}", "red")
    if lane.hold_until > now:
        return Text(f"asked to wait {span(lane.hold_until - now)}", "yellow")
    if lane.failing_since is not None:
        return Text(f"failing for {span(now - lane.failing_since)}", "yellow")
    return Text("on", "green")


def _filters(subscription: "Subscription") -> str:
    from worker.webhooks.subscription import DEFAULT_TYPES  # noqa: PLC0415

    parts = [] if subscription.types == DEFAULT_TYPES else list(subscription.types)
    parts += [f"tenant {tenant}" for tenant in subscription.tenants]
    parts += [f"chat {chat}" for chat in subscription.chats]
    return ", ".join(parts) or "-"


def _secrets(subscription: "Subscription", now: float) -> str:
    ending = [s.expires_at for s in subscription.secrets if s.expires_at and s.expires_at > now]
    return "1" + "".join(f", and one until {instant(at)}" for at in ending)


def _json(subscription: "Subscription") -> dict[str, Any]:
    return {
        "subscription_id": subscription.subscription_id,
        "url": _shown(subscription),
        "enabled": subscription.enabled,
        "disabled": subscription.disabled,
        "types": list(subscription.types),
        "tenants": list(subscription.tenants),
        "chats": list(subscription.chats),
        "description": subscription.description,
        "created_at": iso(subscription.created_at),
        "updated_at": iso(subscription.updated_at),
    }


def _lane_json(lane: "Lane") -> dict[str, Any]:
    return {"failing_since": iso(lane.failing_since), "hold_until": iso(lane.hold_until)}

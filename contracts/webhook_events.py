"""What is told about a webhook subscription itself: that it was disabled, and that it works."""

from datetime import datetime
from typing import Generic, Literal, Self, TypeVar

from pydantic import BaseModel, Field

from contracts.envelope import DATASCHEMA, READER, TYPE, CloudEvent, Time
from contracts.fields import Text


class WebhookData(BaseModel):
    """What every event tells about its subscription."""

    model_config = READER

    subscription_id: str = Field(description="The subscription's id.")
    description: Text = Field(default="", description="The subscription's, as its owner gave it.")
    host: str = Field(description="The host of its URL; the rest may hold a token and is left out.")
    is_error: bool = Field(description="Whether something is wrong; then error_message says what.")
    error_message: Text | None = Field(
        default=None, description="What was wrong and what to do, for people; null if nothing."
    )


class WebhookDisabled(WebhookData):
    """A subscription gets nothing any more until somebody resumes it. Nothing of it is lost."""

    is_error: Literal[True] = Field(default=True, description="Always true.")
    error_message: Text = Field(description="What was wrong and what to do, for people.")
    reason: Literal["gone", "failing"] = Field(
        description="gone: the subscriber has answered 410; failing: it has answered nothing well "
        "for days."
    )
    failing_since: Time | None = Field(
        default=None, description="Since when no delivery has succeeded; null if it is gone."
    )
    last_status: int | None = Field(
        default=None, description="HTTP status of the last answer; null if there was none."
    )


class WebhookTest(WebhookData):
    """Somebody tests a subscription. It goes to that one alone, is sent once, and not published."""

    is_error: Literal[False] = Field(default=False, description="Always false.")
    message: Text = Field(
        default="This is a test. If its signature is valid, the subscription works.",
        description="For people.",
    )


OfWebhook = TypeVar("OfWebhook", bound=WebhookData)


class WebhookEvent(CloudEvent[OfWebhook], Generic[OfWebhook]):
    """An event about a webhook subscription: `subject` is the subscription's id."""

    @classmethod
    def of(cls, data: OfWebhook, *, time: datetime, tenant_id: str | None = None) -> Self:
        """The event that tells `data`, which became true at `time` (with a time zone).

        Its id holds the time, since it can happen to a subscription more than once. `tenant_id` is
        the tenant whose subscription it is, if it is one's alone.
        """
        event_type: str = cls.model_fields["type"].default
        name = event_type.rpartition(".")[2]
        return cls(
            id=f"{data.subscription_id}/{name}/{int(time.timestamp() * 1000)}",
            type=event_type,
            subject=data.subscription_id,
            time=time,
            dataschema=cls.model_fields["dataschema"].default,
            tenantid=tenant_id,
            data=data,
        )


class WebhookDisabledEvent(WebhookEvent[WebhookDisabled]):
    """A webhook subscription was disabled: its subscriber is gone, or has failed for days."""

    type: Literal["agent.webhook.disabled"] = Field(
        default="agent.webhook.disabled", description=TYPE
    )
    dataschema: str = Field(
        default="urn:agent-worker:schema:webhook-disabled:1", description=DATASCHEMA
    )


class WebhookTestEvent(WebhookEvent[WebhookTest]):
    """A test of one webhook subscription."""

    type: Literal["agent.webhook.test"] = Field(default="agent.webhook.test", description=TYPE)
    dataschema: str = Field(
        default="urn:agent-worker:schema:webhook-test:1", description=DATASCHEMA
    )

"""Files that a message brings: inside the request when small, else in the session bucket."""

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MAX_ATTACHMENTS = 20

_KEY = r"^attachments/[A-Za-z0-9._-]{1,64}/[A-Za-z0-9!_.*'()/=+ -]{1,800}$"


def _decodable(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError("is not base64") from exc
    return text


class Attachment(BaseModel):
    """One file: an image (PNG, JPEG, GIF, WebP), a PDF or a text. What it is shows its content, not
    its name.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(
        default="attachment",
        min_length=1,
        max_length=200,
        pattern=r"^[^\u0000-\u001f\u007f-\u009f]+$",
        description="A name of 1 to 200 characters, for the model.",
    )
    data: Annotated[str, AfterValidator(_decodable)] | None = Field(
        default=None,
        min_length=1,
        repr=False,
        description="The content in base64; the whole message has at most 1 MiB.",
    )
    key: str | None = Field(
        default=None,
        pattern=_KEY,
        description="Or the key of an object in the session bucket, like "
        "attachments/<tenant_id>/<any name>.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> "Attachment":
        if (self.data is None) == (self.key is None):
            raise ValueError("needs either data or key")
        if self.key is not None and ".." in self.key.split("/"):
            raise ValueError("the key must not hold ..")
        return self

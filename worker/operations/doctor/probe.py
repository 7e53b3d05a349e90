"""Asking AWS, where every answer is a value: also "no", and none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from worker.adapters.aws import RefusedError
from worker.domain.errors import UnavailableError
from worker.operations.doctor.finding import Finding, ok, problem, unchecked

DENIED = frozenset(
    {
        *("AccessDenied", "AccessDeniedException", "AuthorizationError", "403", "Forbidden"),
        *("AuthorizationErrorException", "UnauthorizedOperation", "KMS.AccessDeniedException"),
    }
)
IDENTITY = frozenset(
    {
        *("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"),
        *("ExpiredToken", "ExpiredTokenException", "SignatureDoesNotMatch"),
        *("InvalidSignatureException", "RequestTimeTooSkewed", "AuthFailure", "RequestExpired"),
    }
)
MISSING = frozenset(
    {
        *("ResourceNotFoundException", "NotFound", "NotFoundException", "404", "NoSuchBucket"),
        *("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"),
    }
)

Kind = Literal["answer", "refused", "denied", "missing", "identity", "unreachable"]


class Caller(Protocol):
    """Something that calls AWS, as adapters.aws.Aws does."""

    async def call(
        self, service: str, operation: str, *, attempts: int = 3, **kwargs: object
    ) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: `code` and `text` are the service's, unless there is an answer."""

    kind: Kind
    answer: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    text: str = ""


async def ask(aws: Caller, service: str, operation: str, **arguments: object) -> Outcome:
    """One call, tried once."""
    try:
        return Outcome("answer", await aws.call(service, operation, attempts=1, **arguments))
    except RefusedError as exc:
        kind: Kind = "refused"
        for name, codes in (("denied", DENIED), ("identity", IDENTITY), ("missing", MISSING)):
            if exc.code in codes:
                kind = name  # type: ignore[assignment] # one of Kind's
        return Outcome(kind, code=exc.code, text=str(exc))
    except UnavailableError as exc:
        return Outcome("unreachable", code="unreachable", text=str(exc))


def reached(outcome: Outcome, area: str, name: str, setting: str, action: str) -> Finding | None:
    """What it means when a resource does not answer; None when it does."""
    match outcome.kind:
        case "answer" | "refused":
            return None
        case "missing":
            return problem(
                area,
                "reachable",
                f"{name} does not exist in this account and region",
                f"set {setting} to the stack's output, and AWS_REGION to its region",
            )
        case "denied":
            return unchecked(
                area,
                "settings",
                f"{name} may not be described ({action}): its settings are not checked",
                f"run this once with rights that include {action}",
            )
        case "identity":
            return problem(
                area,
                "reachable",
                f"AWS does not accept the identity: {outcome.code}",
                "check the AWS_* credentials or the role, and this machine's clock",
            )
        case "unreachable":
            return problem(
                area,
                "reachable",
                f"no answer: {outcome.text}",
                "check the network's way to AWS, AWS_REGION, and AWS_ENDPOINT_URL if it is set",
            )


async def allowed(
    aws: Caller,
    area: str,
    action: str,
    harmless: frozenset[str],
    call: tuple[str, str],
    **arguments: Any,  # noqa: ANN401 - of any operation
) -> Finding:
    """Whether an action is permitted, by a call that cannot succeed: `harmless` are the codes with
    which it fails when it is.
    """
    service, operation = call
    outcome = await ask(aws, service, operation, **arguments)
    check = f"may {action}"
    if outcome.kind == "answer" or outcome.code in harmless:
        return ok(area, check, f"{action} is permitted")
    if outcome.kind == "denied":
        return problem(
            area,
            check,
            f"{action} is not permitted to this identity",
            "add it to the role (infra/worker.yml has all that a worker needs), or run this as "
            "the worker if you are somebody else",
        )
    return unchecked(area, check, f"{action}: {outcome.text}")

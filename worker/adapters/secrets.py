"""Settings by reference: `secretsmanager://name` and `ssm://name`, read through Powertools."""

from collections.abc import Mapping

from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

from worker.domain.errors import SettingsError

SCHEMES = ("secretsmanager://", "ssm://")


def resolve_references(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with each reference replaced by what it names. Raises SettingsError for all
    that cannot be read; the error names the reference, never a value.
    """
    resolved, problems = dict(environ), []
    for name, reference in environ.items():
        if not reference.startswith(SCHEMES):
            continue
        scheme, _, path = reference.partition("://")
        try:
            if scheme == "ssm":
                resolved[name] = parameters.get_parameter(f"/{path.lstrip('/')}", decrypt=True)
            else:
                resolved[name] = str(parameters.get_secret(path))
        except GetParameterError as exc:
            cause = type(exc.__cause__ or exc.__context__ or exc).__name__
            problems.append(
                f"{name}: {reference} cannot be read ({cause}); check that it exists and that the "
                "worker may read it"
            )
    if problems:
        raise SettingsError(problems)
    return resolved

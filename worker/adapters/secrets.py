"""Settings by reference: `secretsmanager://name` and `ssm://name`, read through Powertools, whose
cache says when one is read again. So a rotated secret counts without a restart.
"""

from collections.abc import Mapping

from worker.domain.errors import SettingsError

SCHEMES = ("secretsmanager://", "ssm://")


class References:
    """An environment in which values may be references."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._named = {name: value for name, value in environ.items() if value.startswith(SCHEMES)}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._named)

    def resolve(self, max_age: int = 5) -> dict[str, str]:
        """The environment with each reference replaced by what it names, read anew when what is
        known is older than `max_age` seconds. Raises SettingsError for all that cannot be read;
        the error names the reference, never a value.
        """
        resolved, problems = dict(self._environ), []
        if not self._named:
            return resolved
        from aws_lambda_powertools.utilities.parameters.exceptions import (  # noqa: PLC0415 - boto3
            GetParameterError,
        )

        for name, reference in self._named.items():
            try:
                resolved[name] = _read(reference, max_age)
            except GetParameterError as exc:
                cause = type(exc.__cause__ or exc.__context__ or exc).__name__
                problems.append(
                    f"{name}: {reference} cannot be read ({cause}); check that it exists and that "
                    "the worker may read it"
                )
        if problems:
            raise SettingsError(problems)
        return resolved


def _read(reference: str, max_age: int) -> str:
    from aws_lambda_powertools.utilities import parameters  # noqa: PLC0415

    scheme, _, path = reference.partition("://")
    if scheme == "ssm":
        return str(parameters.get_parameter(f"/{path.lstrip('/')}", decrypt=True, max_age=max_age))
    return str(parameters.get_secret(path, max_age=max_age))

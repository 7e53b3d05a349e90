"""A tenant's work with keys that reach this tenant's state only (TENANT_ROLE_ARN).

One role serves all tenants. It is assumed with the session tag `tenant`, and its policy speaks of
`${aws:PrincipalTag/tenant}` (infra/tenants.yml): so it is AWS that refuses another tenant's objects
and rows, whatever key the worker asks for. What belongs to no tenant is done as the worker itself.
"""

from collections import OrderedDict
from collections.abc import Mapping

from worker.adapters.aws import Aws, RefusedError
from worker.domain.errors import UnavailableError

MAX_TENANTS = 64
"""Whose clients are kept, at 0.7 MB and 20 ms each; the one idle for longest goes first."""

SESSION_SECONDS = 3600
"""The most that STS gives to who is acting as a role already (AssumeRole, role chaining)."""

MAX_SESSION_NAME = 64
"""Characters of a RoleSessionName (AWS STS, AssumeRole). The name is for CloudTrail; the tag, which
a policy sees, is always whole."""


class TenantAws(Aws):
    """The worker's own identity; `of` a tenant, the role's."""

    def __init__(self, role_arn: str, *, threads: int = 32, region: str | None = None) -> None:
        super().__init__(threads=threads, region=region)
        self._role_arn = role_arn
        self._tenants: OrderedDict[str, Aws] = OrderedDict()

    def of(self, tenant: str) -> Aws:
        """No request is sent before this is used; whose keys cannot be had is unavailable."""
        if tenant not in self._tenants:
            self._tenants[tenant] = self.acting(lambda: self._assumed(tenant))
        self._tenants.move_to_end(tenant)
        if len(self._tenants) > MAX_TENANTS:
            _, idle = self._tenants.popitem(last=False)
            idle.close()  # a turn that still uses it connects anew
        return self._tenants[tenant]

    def _assumed(self, tenant: str) -> Mapping[str, str]:
        """Raises UnavailableError: never is anything done as the worker itself instead."""
        try:
            answer = self.clients.request(
                "sts",
                "assume_role",
                {
                    "RoleArn": self._role_arn,
                    "RoleSessionName": f"tenant-{tenant}"[:MAX_SESSION_NAME],
                    "DurationSeconds": SESSION_SECONDS,
                    "Tags": [{"Key": "tenant", "Value": tenant}],
                },
            )
        except (RefusedError, UnavailableError) as exc:
            msg = (
                f"TENANT_ROLE_ARN {self._role_arn} cannot be assumed for tenant {tenant!r} ({exc})"
                "; it must trust the worker's role for sts:AssumeRole and sts:TagSession with the "
                "tag tenant, and the worker's role must be allowed both"
            )
            raise UnavailableError("sts", msg) from exc
        keys = answer["Credentials"]
        return {
            "access_key": keys["AccessKeyId"],
            "secret_key": keys["SecretAccessKey"],
            "token": keys["SessionToken"],
            "expiry_time": keys["Expiration"].isoformat(),
        }

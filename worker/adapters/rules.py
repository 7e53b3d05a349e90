"""The settings as they are now: what was given by reference is read again as it ages."""

import asyncio

from worker.adapters.secrets import References
from worker.domain.errors import SettingsError
from worker.domain.policy import Policy
from worker.ports import Clock, Journal
from worker.settings import Settings

RETRY_SECONDS = 30.0
"""After a failure to read, what is known holds for so long before another try."""


class LiveRules:
    """The rules port. `settings` are those of the start; the last good ones always hold."""

    def __init__(
        self, references: References, settings: Settings, clock: Clock, journal: Journal
    ) -> None:
        self._references = references
        self._clock = clock
        self._journal = journal
        self._not_before = 0.0
        self.settings = settings
        self._policy = settings.policy()

    async def current(self) -> Policy:
        if self._references and self._clock.now() >= self._not_before:
            await self._refresh()
        return self._policy

    async def _refresh(self) -> None:
        max_age = self.settings.secrets_max_age_seconds
        try:
            environ = await asyncio.to_thread(self._references.resolve, max_age)
            fresh = Settings.from_env(environ)
        except SettingsError as exc:
            self._not_before = self._clock.now() + RETRY_SECONDS
            self._journal.note("settings_not_refreshed", problems=list(exc.problems))
            return
        if fresh != self.settings:
            self._journal.note("settings_refreshed")
            self.settings, self._policy = fresh, fresh.policy()

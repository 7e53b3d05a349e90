"""One JSON log line per step, through Powertools. Steps carry ids, codes and figures; message text
and secrets are never given to it.
"""

import traceback

from aws_lambda_powertools import Logger


class PowertoolsJournal:
    """The journal port on Powertools Logger (level by LOG_LEVEL)."""

    def __init__(self, level: str = "INFO") -> None:
        self._logger = Logger(service="agent-worker", level=level, use_rfc3339=True, utc=True)
        self._logger.remove_keys(["location"])  # it would be this module, always

    def note(self, step: str, **fields: object) -> None:
        self._logger.info(step, extra=fields)

    def failure(self, step: str, exc: BaseException, **fields: object) -> None:
        where = [
            f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(exc.__traceback__)
        ]
        self._logger.error(step, extra={**fields, "error": type(exc).__name__, "where": where})

"""The log of the web server itself: what gunicorn says goes through our formatter, as what Django says does."""

from __future__ import annotations

from gunicorn.config import Config
from gunicorn.glogging import Logger

from webapp.logs import LineFormatter


class WebLog(Logger):  # type: ignore[misc]
    """Write no message of an exception, which may quote a text."""

    def setup(self, cfg: Config) -> None:
        """Set up gunicorn's handlers, then give them our formatter."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(LineFormatter())

"""The one clock of pages and commands: that of the setting TIME_ZONE."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.utils import timezone


def zone() -> str:
    """Return the name of the zone, and how it is called at this time of the year: "Africa/Nairobi (EAT)"."""
    return f"{settings.TIME_ZONE} ({timezone.localtime(timezone=timezone.get_default_timezone()):%Z})"


def midnight() -> datetime:
    """Return when today began."""
    return timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)


def written(moment: datetime) -> str:
    """Return a moment as commands print it, with its zone: "2026-03-01 15:00 EAT"."""
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M %Z}"

"""manage.py schedule_training SCHEMA [--days mon,thu --at 02:30] [--profile fast|full] [--after CASES]"""

from __future__ import annotations

from datetime import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import schedules
from webapp.errors import CaseloopError
from webapp.management import named
from webapp.models import Profile


class Command(BaseCommand):
    """Set when trainings begin by themselves."""

    help = "Set on which days, at what time, and after how many newly labelled cases trainings begin by themselves."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the schema, the days and the time, and how many cases to wait for."""
        parser.add_argument("schema")
        parser.add_argument("--days", default="", help="for instance mon,thu; without any, at no set time")
        parser.add_argument("--at", type=time.fromisoformat, help="the time of the day, for instance 02:30")
        parser.add_argument("--profile", choices=Profile.values, default=Profile.FAST)
        parser.add_argument("--after", type=int, default=0, help="cases with new labels; 0 never")

    def handle(self, *args: Any, **options: Any) -> None:
        """Set both."""
        schema = named.schema(options["schema"])
        days = [day for day in options["days"].lower().split(",") if day]
        try:
            schedules.put(schema, days=days, at=options["at"], profile=options["profile"], by=None)
            schedules.wait_for_labels(schema, options["after"], by=None)
        except CaseloopError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"Set for {schema.title}.")

"""manage.py label_studio doctor [--json] [--repair]"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from webapp.actions import doctor
from webapp.models import Checkup
from webapp.queries import clock, wording


class Command(BaseCommand):
    """Look after Label Studio."""

    help = "Say how Label Studio stands against our database, and repair it. Exits with 1 where something is wrong."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what to do, and the form of the answer."""
        parser.add_argument("what", choices=["doctor"])
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--repair",
            action="store_true",
            help="put back the configuration, tasks and annotations that are gone; remove duplicates",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Examine, repair where that is asked for, and print what is found then."""
        row = Checkup.objects.create(repairs=list(doctor.REPAIRS) if options["repair"] else [])
        doctor.carry_out(row.pk)
        row.refresh_from_db()
        report = row.report
        if options["json"]:
            self.stdout.write(json.dumps(report))
        else:
            self._show(report)
        if report["problems"]:
            sys.exit(1)

    def _show(self, report: dict[str, Any]) -> None:
        where = f"Label Studio at {report['url'] or 'no address'} (key: {report['key']})"
        state = f"answers, version {report['version']}" if report["answers"] else "does not answer"
        is_down = report["down_since"] and not report["answers"]
        since = f" since {clock.written(datetime.fromisoformat(report['down_since']))}" if is_down else ""
        self.stdout.write(where + " " + state + since)
        waiting = report["outbox"]
        oldest = "" if waiting["oldest_seconds"] is None else f", the oldest for {waiting['oldest_seconds']:.0f} s"
        said = ", ".join(words for _sign, _style, words in wording.traffic(waiting))
        self.stdout.write(f"Outbox: {said}{oldest}")
        for project in report["projects"]:
            polled = project["seconds_since_poll"]
            read = "never read" if polled is None else f"read {polled:.0f} s ago"
            foreign = f", {project['foreign']['count']} not of ours" if project["foreign"]["count"] else ""
            self.stdout.write(
                f"{project['schema']}: project {project['project']}, {project['tasks']} tasks{foreign}, {read}"
            )
            for line in project["difference"]:
                self.stdout.write(f"  {line}")
        for what, number in report["repaired"].items():
            self.stdout.write(f"{what}: {number}")
        for problem in report["problems"]:
            self.stderr.write(f"Wrong: {problem}")

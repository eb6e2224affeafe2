"""manage.py retrain [--schema NAME] [--profile fast|full] [--resume RUN] [--wait]"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import runs
from webapp.errors import CaseloopError
from webapp.management import following, named
from webapp.models import Profile, Run, RunState, Schema


class Command(BaseCommand):
    """Ask for a training."""

    help = "Train a new version from the labels as they stand; the training worker does it."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the schema, how much to learn, and whether to wait."""
        parser.add_argument("--schema", default="helpline")
        parser.add_argument("--profile", choices=Profile.values, default=Profile.FAST, help="; ".join(Profile.labels))
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--resume", type=int, metavar="RUN", help="go on from where this run died, as it was begun")
        parser.add_argument("--wait", action="store_true", help="wait until the run has ended")

    def handle(self, *args: Any, **options: Any) -> None:
        """Queue the run; with --wait, follow it."""
        schema = named.schema(options["schema"])
        try:
            if options["resume"] is None:
                run = runs.request(schema, profile=options["profile"], seed=options["seed"])
            else:
                run = runs.resume(_dead(schema, options["resume"]))
        except CaseloopError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"run {run.pk} is queued")
        if options["wait"]:
            self._follow(run)

    def _follow(self, run: Run) -> None:
        following.until_ended(run, self.stdout.write)
        if run.state != RunState.SUCCEEDED or run.version is None:
            raise CommandError(f"run {run.pk} {run.state}: {run.failure}")
        self.stdout.write(f"run {run.pk} succeeded: version {run.version.number}")


def _dead(schema: Schema, pk: int) -> Run:
    found = schema.runs.filter(pk=pk).first()
    if found is None:
        raise CommandError(f"{schema.title} has no run {pk}")
    return found

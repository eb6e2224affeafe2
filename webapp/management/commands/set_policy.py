"""manage.py set_policy SCHEMA [FILE] [--reason WORDS]"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import schemas
from webapp.errors import CaseloopError
from webapp.management import named
from webapp.models import ModelVersion
from webapp.queries import learning
from webapp.queries import schemas as in_force


class Command(BaseCommand):
    """Show the routing policy of a schema, or put another in force."""

    help = "Print the policy of a schema as JSON, or put the one of a JSON file in force for what is predicted next."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the schema, and the file with the values."""
        parser.add_argument("schema")
        parser.add_argument("file", type=Path, nargs="?", help="a JSON object; without it the policy is printed")
        parser.add_argument("--reason", default="set by command", help="kept with the policy")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print, or read, check and set."""
        schema = named.schema(options["schema"])
        if options["file"] is None:
            self.stdout.write(json.dumps(in_force.policy(schema).values, indent=1))
            return
        try:
            values = json.loads(options["file"].read_text(encoding="utf-8"))
            found = schemas.policy_of(in_force.newest_version(schema).parsed, values)
        except CaseloopError as exc:
            raise CommandError(str(exc)) from exc
        except OSError as exc:
            raise CommandError(f"{options['file']} cannot be read: {exc.strerror}") from exc
        except (ValueError, RecursionError) as exc:
            raise CommandError(f"{options['file']} is not JSON: {exc}") from exc
        row = schemas.set_policy(schema, found, reason=options["reason"][:500], by=None)
        self.stdout.write(f"Policy {row.pk} of {schema.title} is in force.")
        if found.hidden_labels:
            self.stdout.write(self._leaks(in_force.answering_version(schema)))

    def _leaks(self, version: ModelVersion) -> str:
        """Say which names the version in use leaves readable."""
        shares = [
            f"{one.label} {one.share:.3f} ({one.interval[0]:.2f} to {one.interval[1]:.2f}, n {one.n})"
            for one in learning.leaks(version)
        ]
        if not shares:
            return f"What {version} misses of names stays readable; how much that is was not measured."
        return f"What {version} misses stays readable: {', '.join(shares)}."

"""manage.py revoke_token [ID]"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import tokens
from webapp.models import Token


class Command(BaseCommand):
    """Show the tokens, or end one."""

    help = "End a token now. Without an id, list those that are good."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take which one."""
        parser.add_argument("id", type=int, nargs="?")

    def handle(self, *args: Any, **options: Any) -> None:
        """End it, or list all."""
        if options["id"] is None:
            for token in Token.objects.select_related("user").order_by("pk"):
                if token.is_good:
                    whose = f"of {token.user}" if token.user else "of the service"
                    self.stdout.write(f"{token.pk} {token.name}, {whose}, {' '.join(token.scopes)}")
            return
        found = Token.objects.filter(pk=options["id"]).first()
        if found is None:
            raise CommandError(f"there is no token {options['id']}")
        tokens.revoke(found, by=None)

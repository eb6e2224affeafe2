"""manage.py create_token NAME --scopes SCOPE,... [--user NAME] [--days N]"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import tokens
from webapp.errors import NotIssuable
from webapp.models import Scope


class Command(BaseCommand):
    """Let a program in."""

    help = "Make a token for the API, which is printed once. Without --user it is a service's."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take whose it is and what it opens."""
        parser.add_argument("name", help="of the service, and of the source of its cases")
        parser.add_argument("--scopes", required=True, help=f"some of {', '.join(Scope)}, with commas between")
        parser.add_argument("--user", help="the person whose token it is")
        parser.add_argument("--days", type=int, default=90, help="until it ends (90)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the secret."""
        user = User.objects.filter(username=options["user"]).first() if options["user"] else None
        if options["user"] and user is None:
            raise CommandError(f"there is no person {options['user']}")
        given = [name.strip() for name in options["scopes"].split(",") if name.strip()]
        if unknown := [name for name in given if name not in Scope.values]:
            raise CommandError(f"there is no scope {', '.join(unknown)}; expected some of {', '.join(Scope)}")
        try:
            secret = tokens.issue(options["name"], map(Scope, given), days=options["days"], by=None, user=user)
        except NotIssuable as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(secret)

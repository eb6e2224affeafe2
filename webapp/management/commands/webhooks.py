"""manage.py webhooks [list | add ADDRESS | test ID | pause ID | resume ID | remove ID | log ID | replay DELIVERY]"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import deliveries, subscriptions
from webapp.errors import NotSubscribable
from webapp.management import named
from webapp.models import Delivery, Event, Subscription
from webapp.queries import subscriptions as told


class Command(BaseCommand):
    """Tell other systems of events."""

    help = "Tell other systems of events. Adding one prints its secret, once."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what to do, and with which."""
        steps = parser.add_subparsers(dest="step", required=True)
        steps.add_parser("list", help="show who is told")
        add = steps.add_parser("add", help="tell an address")
        add.add_argument("address")
        add.add_argument("--events", default=",".join(Event), help=f"some of {', '.join(Event)} (all)")
        add.add_argument("--schema", help="only of this label schema (all)")
        for name, words in {
            "test": "send an event that tells of nothing",
            "pause": "send nothing there",
            "resume": "send there again",
            "remove": "end it, and forget its log",
            "log": "show what was sent last",
        }.items():
            steps.add_parser(name, help=words).add_argument("id", type=int, help="as list shows it")
        replay = steps.add_parser("replay", help="send something again")
        replay.add_argument("delivery", type=int, help="as log shows it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        step = options["step"]
        if step == "list":
            self._list()
        elif step == "add":
            self._add(options)
        elif step == "replay":
            row = Delivery.objects.filter(pk=options["delivery"]).first()
            if row is None:
                raise CommandError(f"there is no delivery {options['delivery']}")
            deliveries.replay(row, by=None)
        else:
            self._change(step, options["id"])

    def _list(self) -> None:
        for row in told.everyone():
            state = "paused" if row.paused_at else "cannot be reached" if row.failures else "in order"
            counts = f"{row.delivered} delivered, {row.waiting} waiting, {row.given_up} given up"  # type: ignore[attr-defined]
            self.stdout.write(f"{row.pk} {row.address}, {row.schema or 'all schemas'}, {state}, {counts}")

    def _add(self, options: dict[str, Any]) -> None:
        wanted = [name.strip() for name in options["events"].split(",") if name.strip()]
        if unknown := [name for name in wanted if name not in Event.values]:
            raise CommandError(f"there is no event {', '.join(unknown)}; expected some of {', '.join(Event)}")
        schema = named.schema(options["schema"]) if options["schema"] else None
        try:
            row = subscriptions.subscribe(options["address"], wanted, schema=schema, by=None)
        except NotSubscribable as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(subscriptions.secret_of(row))

    def _change(self, step: str, number: int) -> None:
        row = Subscription.objects.filter(pk=number).first()
        if row is None:
            raise CommandError(f"there is no subscription {number}; `webhooks list` shows them")
        if step == "test":
            subscriptions.test(row)
        elif step == "log":
            for one in told.newest(row):
                state = "delivered" if one.delivered_at else "given up" if one.given_up_at else "waiting"
                self.stdout.write(f"{one.pk} {one.event}, {state}, {one.attempts} tries, {one.failure}".rstrip(", "))
        else:
            {"pause": subscriptions.pause, "resume": subscriptions.resume, "remove": subscriptions.remove}[step](
                row, by=None
            )

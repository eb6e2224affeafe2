"""Webhooks out, in the browser and from a shell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone

from tests.receiving import Receiver, receiver
from webapp.actions import deliveries, events, subscriptions
from webapp.models import AuditEvent, Delivery, Event, Subscription
from webapp.roles import Role


@pytest.fixture
def there(settings: Any, sent: list[Any]) -> Iterator[Receiver]:
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    with receiver() as found:
        yield found


@pytest.fixture
def admin(helpline, signed_in) -> Client:
    return signed_in(Role.ADMIN)


@pytest.fixture
def row(db: None, there: Receiver) -> Subscription:
    return subscriptions.subscribe(there.address, list(Event), schema=None, by=None)


def test_a_new_address_is_subscribed_and_its_secret_shown_once(admin, helpline, there) -> None:
    assert "No other system is told of anything yet." in admin.get("/webhooks-out/").content.decode()
    form = {"address": there.address, "events": ["case.decided", "version.promoted"], "schema": "helpline"}
    answer = admin.post("/webhooks-out/", form)
    row = Subscription.objects.get()
    assert (row.address, row.events, row.schema) == (there.address, ["case.decided", "version.promoted"], helpline)
    assert row.created_by.username == "admin"
    assert subscriptions.secret_of(row) in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    for page in ("/webhooks-out/", f"/webhooks-out/{row.pk}/"):
        assert subscriptions.secret_of(row) not in admin.get(page).content.decode()
    (event,) = AuditEvent.objects.filter(action="webhook subscribed")
    assert (event.subject, event.facts) == (f"subscription {row.pk}", {"events": row.events})


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"address": "http://10.0.0.1/"}, "the host is in a network of our own that WEBHOOK_NETWORKS does not list"),
        ({"address": "nothing"}, "the address is not a web address; expected https://HOST/PATH"),
        ({"address": ""}, "This field is required."),
        ({"events": []}, "This field is required."),
        ({"events": ["case.eaten"]}, "Select a valid choice."),
        ({"schema": "weather"}, "Select a valid choice."),
    ],
    ids=["own network", "no address", "empty", "no event", "unknown event", "unknown schema"],
)
def test_what_cannot_be_subscribed_says_why(admin, there, form, message) -> None:
    answer = admin.post("/webhooks-out/", {"address": there.address, "events": ["case.decided"]} | form)
    assert (answer.status_code, list(Subscription.objects.all())) == (422, [])
    assert message in answer.content.decode()


def test_an_address_is_subscribed_once_for_each_schema(admin, helpline, row) -> None:
    form: dict[str, object] = {"address": row.address, "events": ["case.decided"]}
    answer = admin.post("/webhooks-out/", form)
    assert "this address is subscribed already" in answer.content.decode()
    assert admin.post("/webhooks-out/", form | {"schema": "helpline"}).status_code == 200
    assert Subscription.objects.count() == 2


def test_the_page_shows_what_came_of_a_test_and_sends_it_again(admin, row, there) -> None:
    assert "Nothing was sent yet." in admin.get(f"/webhooks-out/{row.pk}/").content.decode()
    there.status = 500
    page = admin.post(f"/webhooks-out/{row.pk}/test/", follow=True).content.decode()
    assert "A test is on its way" in page
    deliveries.deliver()
    page = admin.get(f"/webhooks-out/{row.pk}/").content.decode()
    assert "answered 500; expected 2xx; tried again" in page
    assert "Send again" not in page
    Delivery.objects.update(given_up_at=timezone.now())
    assert "given up: answered 500; expected 2xx" in admin.get(f"/webhooks-out/{row.pk}/").content.decode()
    there.status = 200
    admin.post(f"/webhooks-out/deliveries/{Delivery.objects.get().pk}/replay/")
    deliveries.deliver()
    page = admin.get(f"/webhooks-out/{row.pk}/").content.decode()
    assert "delivered, answered 200" in page
    assert "Send again" in page


def test_a_subscription_is_paused_resumed_and_removed(admin, row) -> None:
    address = f"/webhooks-out/{row.pk}/"
    assert "paused since" in admin.post(f"{address}pause/", follow=True).content.decode()
    assert "in order" in admin.post(f"{address}resume/", follow=True).content.decode()
    events.write([row], Event.DECIDED, [{"id": 1}])
    admin.post(f"{address}remove/")
    assert (list(Subscription.objects.all()), list(Delivery.objects.all())) == ([], [])
    assert admin.get(address).status_code == 404
    actions = AuditEvent.objects.filter(actor__username="admin").order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["webhook paused", "webhook resumed", "webhook removed"]


def test_the_list_says_how_each_stands(admin, row) -> None:
    def states() -> str:
        return admin.get("/webhooks-out/").content.decode()

    assert "✓ in order" in states()
    events.write([row], Event.DECIDED, [{"id": 1}])
    Delivery.objects.update(attempts=1)
    assert "◆ 1 refused, tried again" in states()
    Subscription.objects.update(failures=2)
    assert "▲ cannot be reached, 2 times in a row" in states()


def test_the_commands_do_the_same(helpline, there, capsys) -> None:
    call_command("webhooks", "add", there.address, "--events", "case.decided", "--schema", "helpline")
    row = Subscription.objects.get()
    assert capsys.readouterr().out == f"{subscriptions.secret_of(row)}\n"
    assert (row.events, row.schema) == (["case.decided"], helpline)
    call_command("webhooks", "test", str(row.pk))
    deliveries.deliver()
    call_command("webhooks", "log", str(row.pk))
    one = Delivery.objects.get()
    assert capsys.readouterr().out == f"{one.pk} caseloop.test, delivered, 1 tries\n"
    call_command("webhooks", "replay", str(one.pk))
    deliveries.deliver()
    assert len(there.received) == 2
    call_command("webhooks", "pause", str(row.pk))
    call_command("webhooks", "list")
    assert capsys.readouterr().out == (
        f"{row.pk} {there.address}, helpline, paused, 1 delivered, 0 waiting, 0 given up\n"
    )
    call_command("webhooks", "resume", str(row.pk))
    assert Subscription.objects.get().paused_at is None
    call_command("webhooks", "remove", str(row.pk))
    assert list(Subscription.objects.all()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "http://10.0.0.1/"], "the host is in a network of our own"),
        (["add", "https://x.org/", "--events", "case.eaten"], "there is no event case.eaten; expected some of"),
        (["add", "https://x.org/", "--events", ","], "it would be told of nothing"),
        (["pause", "7"], "there is no subscription 7; `webhooks list` shows them"),
        (["replay", "7"], "there is no delivery 7"),
    ],
)
def test_a_command_that_cannot_be_followed_says_why(helpline, words, message) -> None:
    with pytest.raises(CommandError, match=f"^{message}"):
        call_command("webhooks", *words)

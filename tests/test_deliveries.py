"""Bringing events to their subscribers: signed, again until they are heard, and never twice for nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from tests.receiving import Receiver, receiver
from webapp import posting
from webapp.actions import deliveries, events, subscriptions, sweeping
from webapp.locks import only_one
from webapp.models import Delivery, Event, Subscription


@pytest.fixture
def there(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    with receiver() as found:
        yield found


@pytest.fixture
def row(db: None, there: Receiver, sent: list[Any]) -> Subscription:
    return subscriptions.subscribe(there.address, list(Event), schema=None, by=None)


def write(row: Subscription, *numbers: int) -> list[Delivery]:
    events.write([row], Event.DECIDED, [{"id": number} for number in numbers])
    return list(row.deliveries.order_by("-pk")[: len(numbers)])[::-1]


def test_what_is_delivered_can_be_verified_by_the_secret(row, there) -> None:
    (one,) = write(row, 17)
    deliveries.deliver()
    ((headers, body),) = there.received
    assert Webhook(subscriptions.secret_of(row)).verify(body, headers) == {
        "type": "case.decided", "timestamp": one.payload["timestamp"], "data": {"id": 17},
    }  # fmt: skip
    assert (headers["webhook-id"], headers["Content-Type"]) == (str(one.message), "application/json")
    told = datetime.fromisoformat(json.loads(body)["timestamp"])
    assert timedelta() <= datetime.now(UTC) - told < timedelta(minutes=1)
    one.refresh_from_db()
    assert (one.status, one.failure, one.attempts, one.is_waiting) == (200, "", 1, False)
    with pytest.raises(WebhookVerificationError):
        Webhook(subscriptions.secret_of(row)).verify(body.replace(b"17", b"18"), headers)
    deliveries.deliver()
    assert len(there.received) == 1


def test_secrets_differ_and_stand_in_no_table(row, settings) -> None:
    other = Subscription(salt="another")
    assert subscriptions.secret_of(row).startswith("whsec_")
    assert subscriptions.secret_of(row) != subscriptions.secret_of(other)
    stored = json.dumps(list(Subscription.objects.values()), default=str)
    assert subscriptions.secret_of(row).removeprefix("whsec_") not in stored
    before = subscriptions.secret_of(row)
    settings.SECRET_KEY = "another key of this installation"
    assert subscriptions.secret_of(row) != before


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_every_2xx_is_heard(row, there, status) -> None:
    there.status, there.body = status, b""
    write(row, 1)
    deliveries.deliver()
    assert Delivery.objects.get().delivered_at is not None


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (302, "answered 302; redirects are not followed"),
        (400, "answered 400; expected 2xx"),
        (503, "answered 503; expected 2xx"),
    ],
)
def test_what_is_refused_is_tried_again_later_while_others_go_on(row, there, status, failure) -> None:
    there.status = status
    (one,) = write(row, 1)
    before = timezone.now()
    deliveries.deliver()
    one.refresh_from_db()
    assert (one.status, one.failure, one.attempts, one.is_waiting) == (status, failure, 1, True)
    assert before + timedelta(seconds=10) <= one.due_at <= timezone.now() + timedelta(seconds=10)
    there.status = 200
    write(row, 2)
    deliveries.deliver()
    assert [json.loads(body)["data"]["id"] for _, body in there.received] == [1, 2]
    Delivery.objects.update(due_at=before)
    deliveries.deliver()
    assert [headers["webhook-id"] for headers, _ in there.received].count(str(one.message)) == 2
    assert not Delivery.objects.filter(delivered_at=None).exists()


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 10), (1, 20), (5, 320), (9, 5120), (10, 7200), (2000, 7200)])
def test_waits_grow_up_to_two_hours(row, there, attempts, seconds) -> None:
    there.status = 500
    (one,) = write(row, 1)
    Delivery.objects.update(attempts=attempts)
    before = timezone.now()
    deliveries.deliver()
    one.refresh_from_db()
    wait = timedelta(seconds=seconds)
    assert before + wait <= one.due_at <= timezone.now() + wait


def test_what_was_refused_for_a_day_is_given_up(row, there) -> None:
    there.status = 500
    (one,) = write(row, 1)
    Delivery.objects.update(attempts=9, wanted_at=timezone.now() - timedelta(hours=23))
    deliveries.deliver()
    one.refresh_from_db()
    assert (one.is_waiting, one.given_up_at is not None, one.failure) == (False, True, "answered 500; expected 2xx")
    deliveries.deliver()
    assert len(there.received) == 1


def test_an_address_that_cannot_be_reached_rests_with_all_that_waits_for_it(row, there, sent) -> None:
    Subscription.objects.update(address="http://127.0.0.1:1/")
    first, *rest = write(row, *range(20))
    before = timezone.now()
    sent.clear()
    deliveries.deliver()
    row.refresh_from_db()
    assert row.failures == 1
    assert before + timedelta(seconds=10) <= row.resting_until <= timezone.now() + timedelta(seconds=10)
    first.refresh_from_db()
    assert (first.attempts, first.failure, first.status) == (1, "no answer (ConnectError)", None)
    assert rest[-1].attempts == Delivery.objects.get(pk=rest[-1].pk).attempts == 0
    assert sent == [], "it is tried again by the sweep"
    deliveries.deliver()
    assert Subscription.objects.get().failures == 1
    Subscription.objects.update(address=there.address, resting_until=before)
    Delivery.objects.update(due_at=before)
    deliveries.deliver()
    row.refresh_from_db()
    assert (len(there.received), row.failures, row.resting_until) == (20, 0, None)


def test_an_address_that_no_longer_leads_outside_is_not_posted_to(row, there, settings) -> None:
    settings.WEBHOOK_NETWORKS = []
    (one,) = write(row, 1)
    deliveries.deliver()
    one.refresh_from_db()
    assert one.failure == "the host is in a network of our own that WEBHOOK_NETWORKS does not list"
    assert there.received == []


def test_one_that_is_slow_holds_up_no_other(row, there, monkeypatch) -> None:
    monkeypatch.setattr(posting, "TIMEOUT_SECONDS", 1.0)
    with receiver() as other:
        quick = subscriptions.subscribe(other.address, list(Event), schema=None, by=None)
        there.seconds = 3.0
        for one in (row, quick):
            write(one, *range(30))
        deliveries.deliver()
        assert (len(there.received), len(other.received)) == (deliveries.TOGETHER, 30)
    assert Delivery.objects.filter(subscription=quick, delivered_at=None).count() == 0
    failed = Delivery.objects.filter(subscription=row, attempts=1)
    assert {one.failure for one in failed} == {"no answer within 1 seconds"}


def test_many_are_delivered_over_several_turns_each_once(row, there, sent) -> None:
    write(row, *range(deliveries.MOST_AT_ONCE + 5))
    sent.clear()
    deliveries.deliver()
    assert (len(there.received), sent) == (deliveries.MOST_AT_ONCE, [("deliver_webhooks",)])
    sent.clear()
    deliveries.deliver()
    assert sent == []
    said = [json.loads(body)["data"]["id"] for _, body in there.received]
    assert sorted(said) == list(range(deliveries.MOST_AT_ONCE + 5))


@pytest.mark.django_db(transaction=True)
def test_a_second_worker_leaves_them_to_the_first(row, there) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connection

    def run() -> None:
        deliveries.deliver()
        connection.close()

    write(row, 1)
    with only_one("webhooks"), ThreadPoolExecutor(1) as pool:
        pool.submit(run).result(10)
    assert there.received == []


def test_who_answers_that_it_is_gone_is_paused(row, there) -> None:
    there.status = 410
    write(row, 1)
    deliveries.deliver()
    row.refresh_from_db()
    assert row.paused_at is not None


def test_what_happens_while_it_is_paused_waits(row, there, sent, django_capture_on_commit_callbacks) -> None:
    subscriptions.pause(row, by=None)
    write(row, 1)
    deliveries.deliver()
    assert there.received == []
    with django_capture_on_commit_callbacks(execute=True):
        subscriptions.resume(row, by=None)
    assert ("deliver_webhooks",) in sent
    deliveries.deliver()
    assert len(there.received) == 1


def test_what_is_replayed_has_the_same_id_and_a_day_of_its_own(row, there) -> None:
    (one,) = write(row, 1)
    deliveries.deliver()
    Delivery.objects.update(wanted_at=timezone.now() - timedelta(days=3))
    deliveries.replay(one, by=None)
    there.status = 500
    deliveries.deliver()
    one.refresh_from_db()
    assert (one.is_waiting, one.attempts) == (True, 1), "it is tried as if it were new"
    assert {headers["webhook-id"] for headers, _ in there.received} == {str(one.message)}
    assert len(there.received) == 2


def test_a_test_does_not_wait_for_the_address_to_recover(row, there) -> None:
    Subscription.objects.update(resting_until=timezone.now() + timedelta(minutes=5))
    subscriptions.test(row)
    deliveries.deliver()
    assert json.loads(there.received[0][1])["type"] == "caseloop.test"


def test_the_sweep_sends_what_is_due_gives_up_what_is_old_and_forgets_what_is_settled(row, sent) -> None:
    waiting, resting, old, settled = write(row, 1, 2, 3, 4)
    sent.clear()
    now = timezone.now()
    Delivery.objects.filter(pk=resting.pk).update(due_at=now + timedelta(minutes=1))
    Delivery.objects.filter(pk=old.pk).update(wanted_at=now - timedelta(hours=25))
    Delivery.objects.filter(pk=settled.pk).update(delivered_at=now - timedelta(days=31))
    sweeping.sweep()
    assert sent == [("deliver_webhooks",)]
    old.refresh_from_db()
    assert (old.given_up_at is not None, old.failure) == (True, "not delivered within a day")
    assert set(Delivery.objects.values_list("pk", flat=True)) == {waiting.pk, resting.pk, old.pk}
    Delivery.objects.update(delivered_at=now)
    sent.clear()
    sweeping.sweep()
    assert sent == []


def test_logs_hold_numbers_and_neither_address_nor_secret(row, there, caplog) -> None:
    there.status = 500
    caplog.set_level(logging.DEBUG)
    (one,) = write(row, 1)
    deliveries.deliver()
    (record,) = [record for record in caplog.records if record.name == "webapp.actions.deliveries"]
    assert (record.message, record.delivery, record.subscription, record.status) == (
        "webhook failed", one.pk, row.pk, 500,
    )  # fmt: skip
    assert subscriptions.secret_of(row) not in caplog.text

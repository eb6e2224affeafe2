"""What other systems are told of: who wants to hear of which events, and each one that is brought to them."""

from __future__ import annotations

from uuid import uuid4

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from webapp.models.schemas import Schema


class Event(models.TextChoices):
    """What can be told of."""

    PREDICTED = "case.predicted", "a case was predicted and routed"
    FLAGGED = "case.flagged", "a case was flagged: it needs a person"
    DECIDED = "case.decided", "a case was decided, or decided otherwise"
    ESCALATED = "case.escalated", "somebody raised the alarm about a case"
    PROMOTED = "version.promoted", "another version was put in use"


TEST = "caseloop.test"  # What the button sends; nobody subscribes to it


class Subscription(models.Model):
    """An address of another system that is told of events.

    Its secret follows from `salt` and SECRET_KEY, and so stands in no table: `webapp.actions.subscriptions.secret_of`.
    """

    address = models.CharField(max_length=500)
    events = ArrayField(models.CharField(max_length=20, choices=Event))
    schema = models.ForeignKey(Schema, on_delete=models.PROTECT, null=True)  # All schemas where none is named
    salt = models.CharField(max_length=32)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    paused_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)  # In a row, of connecting to it at all
    resting_until = models.DateTimeField(null=True)  # It could not be connected to

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["address", "schema"], nulls_distinct=False, name="one_subscription_by_address"
            )
        ]

    def __str__(self) -> str:
        return f"subscription {self.pk}"


class Delivery(models.Model):
    """One event that one subscriber has to hear of, written with what it tells of; `payload` holds no text.

    It waits until it is delivered or, a day after it was wanted, given up. Who has it sent again starts another day.
    """

    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="deliveries")
    message = models.UUIDField(default=uuid4, unique=True)  # By which the receiver knows what it has heard already
    event = models.CharField(max_length=20)
    payload = models.JSONField(encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(auto_now_add=True)
    wanted_at = models.DateTimeField()
    due_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    status = models.PositiveSmallIntegerField(null=True)  # Of the last answer; none if there was none
    failure = models.CharField(max_length=200, default="", blank=True)
    delivered_at = models.DateTimeField(null=True)
    given_up_at = models.DateTimeField(null=True)
    request_id = models.CharField(max_length=36, default="", blank=True)  # Of the request or task that caused it

    class Meta:
        indexes = [
            models.Index(
                fields=["subscription", "due_at"],
                condition=Q(delivered_at=None, given_up_at=None),
                name="deliveries_waiting",
            ),
            models.Index(fields=["subscription", "-id"], name="deliveries_of_subscription"),
        ]

    def __str__(self) -> str:
        return f"delivery {self.pk}"

    @property
    def is_waiting(self) -> bool:
        """Whether it is still tried."""
        return self.delivered_at is None and self.given_up_at is None

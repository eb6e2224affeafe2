"""By which programs reach the API."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Scope(models.TextChoices):
    """What a token opens."""

    READ = "cases:read", _("read and search cases")
    WRITE = "cases:write", _("create and withdraw cases")
    PREDICT = "predict", _("predict texts that are not stored")
    CORRECT = "correct", _("correct cases, as another system")
    METRICS = "metrics", _("read the measures of the loop, for Prometheus")
    DROPINS = "dropins", _("call the addresses of the services that Caseloop stands in for")


class Token(models.Model):
    """A way in for a program: a service's, or a person's own. The secret itself is kept nowhere.

    `name` is the source of the cases that a service sends, and the only one whose cases it sees.
    """

    name = models.CharField(max_length=100)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="tokens")
    digest = models.CharField(max_length=64, unique=True)  # SHA-256; the secret is random, so nobody can guess it back
    scopes = ArrayField(models.CharField(max_length=20))
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)  # To the minute

    def __str__(self) -> str:
        return f"token {self.pk}"

    @property
    def is_good(self) -> bool:
        """Whether it still opens anything."""
        is_theirs = self.user is None or self.user.is_active
        return is_theirs and self.revoked_at is None and self.expires_at > timezone.now()

"""What people at the desk leave behind: searches, views that they keep, drafts, and which cases they saw."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from webapp.models.cases import Case


class Search(models.Model):
    """The words that somebody searched for: they may name a child, so an address holds only the id of this row.

    It goes after some hours, unless a saved view uses it.
    """

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="searches")
    words = models.CharField(max_length=200)
    asked_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "words"], name="one_search_by_words")]

    def __str__(self) -> str:
        return f"search {self.pk}"


class SavedView(models.Model):
    """Filters of the queue that a person keeps under a name."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_views")
    name = models.CharField(max_length=60)
    filters = models.JSONField(default=dict)  # As `webapp.queries.filters.Filters.given` tells them
    search = models.ForeignKey(Search, on_delete=models.RESTRICT, null=True, related_name="views")
    saved_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_view_by_name")]

    def __str__(self) -> str:
        return f"view {self.pk}"


class Draft(models.Model):
    """What somebody typed on the page of a case and has not sent, or sent last, so that it can be undone."""

    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="drafts")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="drafts")
    values = models.JSONField()  # As the form sends them: name -> values
    revision = models.IntegerField()  # Of the case that the form showed
    saved_at = models.DateTimeField(auto_now=True)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["case", "person"], name="one_draft_by_person")]

    def __str__(self) -> str:
        return f"draft {self.pk}"


class Sighting(models.Model):
    """Somebody was shown the text of a case. Rows are only added."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="sightings")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="sightings")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["-at", "-id"], name="sightings_by_time")]

    def __str__(self) -> str:
        return f"case {self.case_id} seen by person {self.person_id}"


class RevealReason(models.TextChoices):
    """What somebody needs to see the names of a case for."""

    DANGER = "danger", _("somebody may be in danger")
    REFERRAL = "referral", _("to refer or call back")
    SAME = "same", _("to tell whether it is the same person")
    ENTITIES = "entities", _("to mark entities")
    OTHER = "other", _("another reason")


class Reveal(models.Model):
    """Somebody was shown the names of a case until some moment. Rows are only added."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="reveals")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reveals")
    reason = models.CharField(max_length=10, choices=RevealReason)
    note = models.CharField(max_length=500, default="", blank=True)
    at = models.DateTimeField(auto_now_add=True)
    until = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["case", "person", "-until"], name="reveals_of_case"),
            models.Index(fields=["-at", "-id"], name="reveals_by_time"),
        ]

    def __str__(self) -> str:
        return f"case {self.case_id} revealed to person {self.person_id}"

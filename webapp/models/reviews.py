"""What supervisors do with cases, and the alerts that people raise. Rows are only added."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from webapp.models.annotations import Annotation, Annotator
from webapp.models.cases import Case


class Act(models.TextChoices):
    """What a supervisor did with a case."""

    ACCEPT = "accept", _("accepted")
    FIX = "fix", _("fixed and accepted")
    SEND_BACK = "send_back", _("sent back to annotators")
    SECOND_OPINION = "second_opinion", _("asked for a second opinion")
    UNDO = "undo", _("took the last step back")


class Review(models.Model):
    """One act of a supervisor on a case."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="reviews")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reviews")
    act = models.CharField(max_length=15, choices=Act)
    annotation = models.ForeignKey(Annotation, on_delete=models.PROTECT, null=True)  # What was answered
    to = models.ForeignKey(Annotator, on_delete=models.PROTECT, null=True)  # Who is asked; whoever comes if empty
    known = models.PositiveBigIntegerField(default=0)  # The newest annotation before; a later one may be the answer
    note = models.CharField(max_length=2000, default="", blank=True)
    before = models.JSONField(default=dict)  # The state and the open flags that undoing brings back
    revision = models.PositiveIntegerField(default=0)  # Of the case afterwards; with another one nothing is undone
    undoes = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="undone_by")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(fields=["case", "-id"], name="newest_review"),
            models.Index(fields=["person", "-id"], name="newest_review_of_person"),
        ]

    def __str__(self) -> str:
        return f"review {self.pk} of case {self.case_id}"


class Escalation(models.Model):
    """Somebody raised the alarm about a case: an alert on every supervisor's and admin's page until acknowledged."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="escalations")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="escalations")
    note = models.CharField(max_length=2000, default="", blank=True)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"escalation {self.pk} of case {self.case_id}"


class Erasure(models.Model):
    """Somebody erased a case: its text and all that was written about it is gone, its ids and the log are kept."""

    case = models.OneToOneField(Case, on_delete=models.PROTECT, related_name="erasure")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="erasures")
    reason = models.CharField(max_length=500)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"erasure of case {self.case_id}"


class Acknowledgement(models.Model):
    """Somebody took an escalation on."""

    escalation = models.OneToOneField(Escalation, on_delete=models.PROTECT, related_name="acknowledgement")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="acknowledgements")
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"acknowledgement of escalation {self.escalation_id}"

"""What we know of Label Studio: its projects, which cases are there, and what still has to be sent."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from webapp.models.annotations import Annotation
from webapp.models.cases import Case
from webapp.models.schemas import Schema, SchemaVersion


class LabelStudioProject(models.Model):
    """The Label Studio project of a schema, and how far its changes have been read."""

    schema = models.OneToOneField(Schema, on_delete=models.PROTECT, related_name="label_studio_project")
    schema_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT)
    project = models.PositiveIntegerField()
    # Whose answers Label Studio orders the tasks by
    version = models.ForeignKey("webapp.ModelVersion", on_delete=models.PROTECT, null=True)
    webhook_url = models.URLField(default="", blank=True)  # Where its webhook points
    config_hash = models.CharField(max_length=64, default="", blank=True)  # Of the configuration as we sent it
    drifted_since = models.DateTimeField(null=True)  # When a poll first found another configuration there
    tasks_there = models.PositiveIntegerField(null=True)  # As the last poll counted them
    cursor = models.CharField(max_length=40, default="", blank=True)
    polled_at = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True)
    failure = models.CharField(max_length=300, default="", blank=True)
    sending_failure = models.CharField(max_length=300, default="", blank=True)  # That no case waits for

    def __str__(self) -> str:
        return f"Label Studio project {self.project}"


class LabelStudioTask(models.Model):
    """A case that is in Label Studio. The case's id travels with it: Label Studio gives task ids to others again."""

    case = models.OneToOneField(Case, on_delete=models.CASCADE, primary_key=True, related_name="label_studio_task")
    project = models.ForeignKey(LabelStudioProject, on_delete=models.CASCADE, related_name="tasks")
    task = models.PositiveIntegerField()
    version = models.ForeignKey("webapp.ModelVersion", on_delete=models.PROTECT, null=True)  # Whose answers are shown
    sent_at = models.DateTimeField(auto_now_add=True)
    withdrawn_at = models.DateTimeField(null=True)
    # Whom we took to it last; until then nobody else is
    opened_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    opened_until = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"task {self.task} for case {self.case_id}"


class OutboxPurpose(models.TextChoices):
    """What has to reach Label Studio."""

    PUSH = "push", "send the case"
    REFRESH = "refresh", "show the answers of the version in use"
    WITHDRAW = "withdraw", "take the case back"


class Outbox(models.Model):
    """One effect outside the database that is still to come, written with the decision that causes it."""

    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="outbox")
    purpose = models.CharField(max_length=10, choices=OutboxPurpose)
    created_at = models.DateTimeField(auto_now_add=True)
    due_at = models.DateTimeField()
    revision = models.PositiveIntegerField(default=0)  # Grows when it is wished for again; a delivery is told by it
    request_id = models.CharField(
        max_length=36, default="", blank=True
    )  # Of the request or task that wished for it last
    attempts = models.PositiveIntegerField(default=0)
    failure = models.CharField(max_length=300, default="", blank=True)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["case", "purpose"], condition=Q(sent_at=None), name="one_waiting_row_by_purpose"
            )
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(sent_at=None), name="outbox_waiting")]

    def __str__(self) -> str:
        return f"{self.purpose} case {self.case_id}"


class Restoration(models.Model):
    """An annotation that is put back into Label Studio, written before it is; our number travels with it.

    By it a poll knows that what it sees is stored already. It has no external id until it is known to be there.
    """

    annotation = models.ForeignKey(Annotation, on_delete=models.CASCADE, related_name="restorations")
    project = models.PositiveIntegerField()
    external_id = models.PositiveIntegerField(null=True)
    external_updated_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["annotation"], condition=Q(external_id=None), name="one_waiting_restoration_by_annotation"
            )
        ]

    def __str__(self) -> str:
        return f"restoration of annotation {self.annotation_id}"


class Checkup(models.Model):
    """One examination of Label Studio that was asked for, with the repairs that were, and what it found."""

    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    repairs = models.JSONField(default=list)
    finished_at = models.DateTimeField(null=True)
    report = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"checkup {self.pk}"


class Question(models.Model):
    """Texts that a project of somebody else asks the version in use about, until they are answered and it is deleted.

    They reach the worker by this row, because the broker holds no texts.
    """

    schema = models.ForeignKey(Schema, on_delete=models.CASCADE)
    texts = models.JSONField()
    version = models.ForeignKey("webapp.ModelVersion", on_delete=models.CASCADE, null=True)  # Which answered
    predictions = models.JSONField(null=True)  # As Prediction.heads holds them, one for each text
    failure = models.CharField(max_length=300, default="", blank=True)
    asked_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"question {self.pk}"

"""Models and what they say: versions, predictions, snapshots, runs, evaluations and the ledger of promotions."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from webapp.models.cases import Case
from webapp.models.schemas import Schema, SchemaVersion


class ModelKind(models.TextChoices):
    """What answers."""

    DEFINITIONS = "definitions", "similarity to the label definitions, untrained"
    TRAINED = "trained", "trained"


class ModelVersion(models.Model):
    """One model that can answer. Rows are only added; which one is in use stands in the ledger."""

    schema_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT, related_name="model_versions")
    kind = models.CharField(max_length=12, choices=ModelKind)
    number = models.PositiveIntegerField()  # Counts up within a schema; 0 is the one from the definitions
    schema = models.ForeignKey(Schema, on_delete=models.PROTECT, related_name="model_versions")
    folder = models.CharField(max_length=200, default="", blank=True)  # Below the models folder
    manifest = models.JSONField(default=dict)
    manifest_hash = models.CharField(max_length=64, default="", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["schema", "number"], condition=Q(kind=ModelKind.TRAINED), name="one_trained_version_by_number"
            ),
            models.UniqueConstraint(
                fields=["schema_version"], condition=Q(kind=ModelKind.DEFINITIONS), name="one_untrained_version"
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.number}" if self.kind == ModelKind.TRAINED else "label definitions"

    @property
    def is_trained(self) -> bool:
        """Whether it learnt from labels; if not, its answers are guesses from the definitions."""
        return self.kind == ModelKind.TRAINED


class Prediction(models.Model):
    """What one version says of one case: per head the answer, the confidence and the probabilities.

    `looks` holds the words that each head looked at most, as (start, end, weight); none of a version that cannot tell.
    Where the text `is_familiar`, it is like those that the version learnt from.
    """

    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="predictions")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="predictions")
    heads = models.JSONField()
    looks = models.JSONField(default=dict)
    is_familiar = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["case", "version"], name="one_prediction_by_version")]

    def __str__(self) -> str:
        return f"prediction {self.pk} of case {self.case_id}"


class HeadScore(models.Model):
    """The scalars of one head of a prediction, for queries."""

    prediction = models.ForeignKey(Prediction, on_delete=models.CASCADE, related_name="scores")
    head = models.CharField(max_length=100)
    answer_key = models.CharField(max_length=300, default="", blank=True)  # Keys joined by ", " for `choices`
    confidence = models.FloatField(null=True)
    harm = models.FloatField(default=0.0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["prediction", "head"], name="one_score_by_head")]
        indexes = [models.Index(fields=["head", "answer_key"], name="scores_by_answer")]

    def __str__(self) -> str:
        return f"{self.head} of prediction {self.prediction_id}"


class Snapshot(models.Model):
    """The labels that one run learns from, frozen: ids, labels, text hashes and sides, never texts."""

    schema_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT, related_name="snapshots")
    digest = models.CharField(max_length=64, unique=True)
    counts = models.JSONField()  # Side -> cases
    left_out = models.PositiveIntegerField(default=0)  # Labelled cases whose words are held out in another case
    test_source = models.CharField(max_length=20)  # "audits" or "imports": what its test side is made of
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"snapshot {self.digest[:8]}"


class SnapshotRow(models.Model):
    """One case of a snapshot."""

    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="rows")
    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="snapshot_rows")
    side = models.CharField(max_length=10)
    text_hash = models.CharField(max_length=64)
    labels = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["snapshot", "case"], name="one_row_by_case")]

    def __str__(self) -> str:
        return f"case {self.case_id} in snapshot {self.snapshot_id}"


class Profile(models.TextChoices):
    """How much a run learns; see `ml.config`."""

    FAST = "fast", "fast: seconds to a minute; heads only"
    FULL = "full", "full: minutes to hours; tunes the encoder too"


class RunState(models.TextChoices):
    """How far a run has come."""

    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


class Cause(models.TextChoices):
    """What asked for a run."""

    PERSON = "person", _("a person")
    SCHEDULE = "schedule", _("the schedule")
    LABELS = "labels", _("new labels")


OPEN_RUN_STATES = (RunState.QUEUED, RunState.RUNNING)


class Run(models.Model):
    """One training: who asked, what it learnt from, how far it is, how it ended."""

    schema = models.ForeignKey(Schema, on_delete=models.PROTECT, related_name="runs")
    schema_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT)
    profile = models.CharField(max_length=10, default=Profile.FAST)
    seed = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=10, choices=RunState, default=RunState.QUEUED)
    progress = models.JSONField(default=dict)
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, null=True, related_name="runs")
    version = models.OneToOneField(ModelVersion, on_delete=models.PROTECT, null=True, related_name="run")
    failure = models.CharField(max_length=1000, default="", blank=True)
    cause = models.CharField(max_length=10, choices=Cause, default=Cause.PERSON)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True)
    requested_at = models.DateTimeField(auto_now_add=True)
    resumes = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="resumed_by")
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["schema"], condition=Q(state__in=["queued", "running"]), name="one_open_run_by_schema"
            )
        ]

    def __str__(self) -> str:
        return f"run {self.pk}"

    @property
    def is_open(self) -> bool:
        """Whether it still waits or trains."""
        return self.state in OPEN_RUN_STATES

    @property
    def asked_by(self) -> str:
        """Who or what asked for it, in words."""
        if self.cause == Cause.PERSON:
            return self.requested_by.get_username() if self.requested_by else "a command"
        return str(self.get_cause_display())


class Evaluation(models.Model):
    """How one version does on the test side of one snapshot."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="evaluations")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, related_name="evaluations")
    heads = models.JSONField()  # Head -> what `metrics.evaluate` tells of it
    compared_with = models.ForeignKey(ModelVersion, on_delete=models.SET_NULL, null=True, related_name="+")  # Champion
    gate = models.JSONField(default=dict)  # What `ml.gate` says of the two; empty where there was no champion
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "snapshot"], name="one_evaluation_by_snapshot")]

    def __str__(self) -> str:
        return f"version {self.version_id} on snapshot {self.snapshot_id}"


class Receipt(models.Model):
    """What became of a correction in the first version that learnt from it."""

    annotation = models.OneToOneField("webapp.Annotation", on_delete=models.PROTECT, related_name="receipt")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="receipts")
    heads = models.JSONField()  # Corrected head -> whether the version now answers as the person did
    similar = models.PositiveIntegerField()  # Cases like it that were asked about
    changed = models.PositiveIntegerField()  # Of these, the ones whose answer to a corrected head is another now

    def __str__(self) -> str:
        return f"receipt of annotation {self.annotation_id}"


class Promotion(models.Model):
    """One row of the ledger: from this moment on, this version was in use. The newest row names the champion."""

    schema = models.ForeignKey(Schema, on_delete=models.PROTECT, related_name="promotions")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="promotions")
    replaced = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=500)
    report = models.JSONField(default=dict)
    promoted_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True)
    promoted_at = models.DateTimeField(auto_now_add=True)
    is_rollback = models.BooleanField(default=False)  # Back to what was in use before `replaced`

    class Meta:
        indexes = [models.Index(fields=["schema", "-id"], name="newest_promotion")]

    def __str__(self) -> str:
        return f"promotion {self.pk}"

"""What people, imports and other systems said of cases, and the labels that stand."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from webapp.models.cases import Case
from webapp.models.schemas import Schema, SchemaVersion


class ImportState(models.TextChoices):
    """How far an import has come."""

    PREVIEWED = "previewed", "previewed"
    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    DONE = "done", "done"
    FAILED = "failed", "failed"
    EXPIRED = "expired", "expired"  # Previewed, and not confirmed in time


class Import(models.Model):
    """One file of cases, with what was read and what could not be."""

    schema = models.ForeignKey(Schema, on_delete=models.PROTECT)
    name = models.CharField(max_length=200)
    source = models.CharField(max_length=100)
    digest = models.CharField(max_length=64)
    mapping = models.JSONField(default=dict)  # Column -> field, as given by the person
    state = models.CharField(max_length=10, choices=ImportState, default=ImportState.PREVIEWED)
    report = models.JSONField(default=dict)
    failure = models.CharField(max_length=500, default="", blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"import {self.pk}"


class AnnotatorKind(models.TextChoices):
    """Who answers."""

    PERSON = "person", "person"
    IMPORT = "import", "import"
    SYSTEM = "system", "system"


class Annotator(models.Model):
    """Who answers: a person, an import or another system."""

    kind = models.CharField(max_length=10, choices=AnnotatorKind)
    name = models.CharField(max_length=200)
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="annotator")
    imported_by = models.OneToOneField(Import, on_delete=models.PROTECT, null=True, related_name="annotator")
    label_studio_user = models.PositiveIntegerField(null=True, unique=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=Q(kind="system"), name="one_annotator_by_system")
        ]

    def __str__(self) -> str:
        return self.name


class Origin(models.TextChoices):
    """Where an annotation was made."""

    IMPORT = "import", "import"
    LABEL_STUDIO = "label_studio", "Label Studio"
    REVIEW = "review", "review"
    API = "api", "API"


class Correction(models.TextChoices):
    """Why a person answered otherwise than the model."""

    MISREAD = "misread", _("the model misread the text")
    OVERLOOKED = "overlooked", _("the model overlooked something")
    UNCLEAR = "unclear", _("the labels overlap, or their definition is unclear")
    KNOWN = "known", _("known from elsewhere than the text")
    OTHER = "other", _("another reason; see the note")


class Annotation(models.Model):
    """One submission of one annotator on one case. Rows are only added.

    An edit is a new row that supersedes the old one; a deletion is a row that says so. A skip has no answers and never
    becomes a label.
    """

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="annotations")
    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="annotations")
    schema_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT)
    origin = models.CharField(max_length=15, choices=Origin)
    answers = models.JSONField(default=dict)
    problems = models.JSONField(default=list)  # Answers outside the schema: kept and reported, never learnt from
    is_skip = models.BooleanField(default=False)
    is_deletion = models.BooleanField(default=False)
    is_ground_truth = models.BooleanField(default=False)  # The file that it came with says that it stands alone
    supersedes = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="superseded_by")
    prediction = models.ForeignKey("webapp.Prediction", on_delete=models.SET_NULL, null=True)  # What the person saw
    changed_heads = models.JSONField(default=list)  # Heads on which the answer differs from what was shown
    origins = models.JSONField(default=dict)  # Head -> how many regions stayed as predicted, were mended, were made
    reason = models.CharField(max_length=10, choices=Correction, default="", blank=True)
    note = models.CharField(max_length=2000, default="", blank=True)
    seconds = models.FloatField(null=True)  # How long the person took
    external_project = models.PositiveIntegerField(null=True)
    external_id = models.PositiveIntegerField(null=True)
    external_updated_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["external_project", "external_id", "external_updated_at", "is_deletion"],
                condition=Q(external_id__isnull=False),
                name="one_annotation_by_external_state",
            ),
            models.UniqueConstraint(
                fields=["supersedes"], condition=Q(supersedes__isnull=False), name="superseded_at_most_once"
            ),
        ]
        indexes = [models.Index(fields=["case", "id"], name="annotations_of_case")]

    def __str__(self) -> str:
        return f"annotation {self.pk} of case {self.case_id}"


class Label(models.Model):
    """The answer that stands for one head of a case, with the annotation that it comes from and the rule that chose it.

    Labels are derived: they can be resolved again from the annotations at any time.
    """

    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="labels")
    head = models.CharField(max_length=100)
    answer = models.JSONField()
    rule = models.CharField(max_length=30)
    annotation = models.ForeignKey(Annotation, on_delete=models.PROTECT)
    resolved_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["case", "head"], name="one_label_by_head")]

    def __str__(self) -> str:
        return f"{self.head} of case {self.case_id}"

"""The tables, one module for each group of nouns.

    schemas      Schema, SchemaVersion, Policy
    cases        Conversation, Case, CaseText, CaseWords, Sketch, Flag, Cover
    annotations  Annotator, Annotation, Label, Import
    learning     ModelVersion, Prediction, HeadScore, Snapshot, SnapshotRow, Run, Evaluation, Receipt, Promotion
    reviews      Review, Escalation, Acknowledgement, Erasure
    sync         LabelStudioProject, LabelStudioTask, Outbox, Restoration, Checkup, Question
    desk         Search, SavedView, Draft, Sighting, Reveal
    tokens       Token
    feedback     Feedback
    events       Subscription, Delivery
    exports      Export
    audit        AuditEvent

Rows of Annotation, ModelVersion, Promotion, Cover, Sighting, Reveal, AuditEvent and of the reviews are only ever added;
a trigger in the database refuses the rest.
"""

from webapp.models.annotations import (
    Annotation,
    Annotator,
    AnnotatorKind,
    Correction,
    Import,
    ImportState,
    Label,
    Origin,
)
from webapp.models.audit import AuditEvent
from webapp.models.cases import Case, CaseState, CaseText, CaseWords, Conversation, Cover, Flag, Sketch
from webapp.models.desk import Draft, Reveal, RevealReason, SavedView, Search, Sighting
from webapp.models.events import Delivery, Event, Subscription
from webapp.models.exports import Export, ExportFormat, ExportState
from webapp.models.feedback import Feedback
from webapp.models.learning import (
    Cause,
    Evaluation,
    HeadScore,
    ModelKind,
    ModelVersion,
    Prediction,
    Profile,
    Promotion,
    Receipt,
    Run,
    RunState,
    Snapshot,
    SnapshotRow,
)
from webapp.models.reviews import Acknowledgement, Act, Erasure, Escalation, Review
from webapp.models.schemas import Policy, Schema, SchemaVersion
from webapp.models.sync import (
    Checkup,
    LabelStudioProject,
    LabelStudioTask,
    Outbox,
    OutboxPurpose,
    Question,
    Restoration,
)
from webapp.models.tokens import Scope, Token

__all__ = [
    "Acknowledgement",
    "Act",
    "Annotation",
    "Annotator",
    "AnnotatorKind",
    "AuditEvent",
    "Case",
    "CaseState",
    "CaseText",
    "CaseWords",
    "Cause",
    "Checkup",
    "Conversation",
    "Correction",
    "Cover",
    "Delivery",
    "Draft",
    "Erasure",
    "Escalation",
    "Evaluation",
    "Event",
    "Export",
    "ExportFormat",
    "ExportState",
    "Feedback",
    "Flag",
    "HeadScore",
    "Import",
    "ImportState",
    "Label",
    "LabelStudioProject",
    "LabelStudioTask",
    "ModelKind",
    "ModelVersion",
    "Origin",
    "Outbox",
    "OutboxPurpose",
    "Policy",
    "Prediction",
    "Profile",
    "Promotion",
    "Question",
    "Receipt",
    "Restoration",
    "Reveal",
    "RevealReason",
    "Review",
    "Run",
    "RunState",
    "SavedView",
    "Schema",
    "SchemaVersion",
    "Scope",
    "Search",
    "Sighting",
    "Sketch",
    "Snapshot",
    "SnapshotRow",
    "Subscription",
    "Token",
]

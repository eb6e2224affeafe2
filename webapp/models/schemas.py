"""Label schemas as the database knows them, and the policy that routes their cases."""

from __future__ import annotations

from functools import cached_property, lru_cache

from django.conf import settings
from django.db import models

from ml import policy
from ml.schema import Schema as ParsedSchema
from ml.schema import parse

_parse = lru_cache(maxsize=32)(parse)  # Takes milliseconds, and every page asks; documents are immutable


class Schema(models.Model):
    """A label schema by name; its versions hold the documents."""

    name = models.SlugField(unique=True)
    title = models.CharField(max_length=200)
    audit_salt = models.CharField(max_length=64)  # Secret, so that nobody can tell beforehand which cases are audited
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class SchemaVersion(models.Model):
    """One document of a schema. Annotations and model versions are pinned to it."""

    schema = models.ForeignKey(Schema, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    document = models.TextField()
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["schema", "number"], name="one_schema_version_by_number")]

    def __str__(self) -> str:
        return f"{self.schema.name} {self.number}"

    @cached_property
    def parsed(self) -> ParsedSchema:
        """The heads and labels that the document describes."""
        return _parse(self.document)


class Policy(models.Model):
    """The routing policy of a schema from some moment on; the newest row is in force, the others are its history."""

    schema = models.ForeignKey(Schema, on_delete=models.PROTECT, related_name="policies")
    values = models.JSONField()
    reason = models.CharField(max_length=500)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["schema", "-id"], name="newest_policy")]

    def __str__(self) -> str:
        return f"policy {self.pk} of schema {self.schema_id}"

    @cached_property
    def parsed(self) -> policy.Policy:
        """The policy as the routing functions take it."""
        return policy.Policy(**self.values)

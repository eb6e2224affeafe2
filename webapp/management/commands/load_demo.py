"""manage.py load_demo"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from webapp import tasks
from webapp.actions import imported_answers, imports, people, promotions, runs, schemas
from webapp.demo import SOURCE, generate, second
from webapp.errors import RunInProgress
from webapp.locks import only_one
from webapp.management import following
from webapp.models import Annotator, Import, ImportState, RunState, Schema
from webapp.queries.schemas import champion
from webapp.roles import Role

PEOPLE_FILE = "demo-people.txt"


class Command(BaseCommand):
    """Make the demo people, load the demo cases and train the first models; what is done already is left as it is."""

    help = "Load the demonstration: three people, synthetic cases in both domains, and a first model of each."

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what is not done yet."""
        schemas.register_shipped()
        self._make_people()
        self._load_cases()
        self._load_second_answers()
        for schema in Schema.objects.filter(name__in=("helpline", "customer")).order_by("-name"):
            self._train_first_version(schema)

    def _make_people(self) -> None:
        path = Path(settings.VAR_DIR) / PEOPLE_FILE
        new = [role for role in Role if not User.objects.filter(username=role.value).exists()]
        if not new:
            return
        passwords = {role: secrets.token_urlsafe(12) for role in new}
        lines = [f"{role.value:<12} {password}" for role, password in passwords.items()]
        # The file first: nobody must exist whose password is known nowhere
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a") as file:
            file.write("\n".join(lines) + "\n")
        for role, password in passwords.items():
            people.create(role.value, email=f"{role.value}@demo.caseloop.local", password=password, role=role)
        self.stdout.write(f"Three people can sign in (shown once; kept in {path}):")
        for line in lines:
            self.stdout.write(f"  {line}")

    def _load_cases(self) -> None:
        done = set(Import.objects.filter(source=SOURCE, state=ImportState.DONE).values_list("name", flat=True))
        if {"helpline_demo.jsonl", "customer_demo.jsonl"} <= done:
            return
        for path in generate.write(Path(settings.VAR_DIR) / "demo"):
            schema = Schema.objects.get(name=path.stem.removesuffix("_demo"))
            row = imports.open_import(schema, path, name=path.name, mapping={}, source=SOURCE, by=None)
            with only_one(f"import {row.pk}"):
                report = imports.apply(row, path)
            self.stdout.write(f"Loaded {report.new} synthetic cases: {schema.title}")

    def _load_second_answers(self) -> None:
        if Annotator.objects.filter(name=second.NAMES[0]).exists():
            return
        heard = {(call.source, call.id): said for call, said in second.answers()}
        number = imported_answers.add(Schema.objects.get(name="helpline"), heard)
        self.stdout.write(f"Loaded synthetic answers of two annotators to {number} of these cases")

    def _train_first_version(self, schema: Schema) -> None:
        if champion(schema) is not None:
            return
        begun = time.monotonic()
        self.stdout.write(f"Training the first model: {schema.title}")
        try:
            run = runs.request(schema)
        except RunInProgress:  # An earlier start was killed while it trained; its run ends, one way or the other
            run = following.until_ended(schema.runs.order_by("-id")[0], self.stdout.write)
            if run.state != RunState.SUCCEEDED:
                run = runs.request(schema)
        version = following.until_ended(run, self.stdout.write).version
        if version is None:
            run.refresh_from_db()
            raise CommandError(f"the first training {run.state}: {run.failure}")
        if champion(schema) is None:
            promotions.promote(version, by=None, reason="the first model of the demonstration")
        tasks.predict_cases.delay(schema.pk)
        self.stdout.write(f"Trained in {time.monotonic() - begun:.0f} s")

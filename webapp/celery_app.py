"""What the workers and the scheduler load."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

app = Celery("caseloop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

"""The web app. Celery's app is loaded with it, so that `delay` finds the broker in web processes too."""

from webapp.celery_app import app as celery_app

__all__ = ["celery_app"]

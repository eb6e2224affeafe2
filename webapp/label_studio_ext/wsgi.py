"""Serve Label Studio's own application, with our few changes to its settings.

A settings module of ours that imports Label Studio's would fail: it reads `django.conf.settings` while its own load.
"""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
OURS = ["label_studio_ext.bridge.BridgeMiddleware", "label_studio_ext.back.BackMiddleware"]

settings.BRIDGE_SECRET = os.environ["LABEL_STUDIO_BRIDGE_SECRET"]
after = settings.MIDDLEWARE.index(AUTHENTICATION) + 1
settings.MIDDLEWARE[after:after] = OURS

# Cookies do not know ports: by its usual names, a visit to the web server next door would sign people out here.
settings.SESSION_COOKIE_NAME = "label_studio_session"
settings.CSRF_COOKIE_NAME = "label_studio_csrf"

if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Readers do not wait for the writer, and writers queue: three times as many annotations in a second.
    settings.DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }

application = get_wsgi_application()

from label_studio_ext import admin  # noqa: E402 - after the settings above are in place

admin.adopt_secrets()

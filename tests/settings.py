"""Settings for the tests: the real ones, but for what slows tests down. `tests/engines.py` sets the environment.

Tools that only read the code, such as mypy and `makemigrations --check`, load this module without engines.
"""

import os

for name in ("SECRET_KEY", "LABEL_STUDIO_WEBHOOK_SECRET"):
    os.environ.setdefault(name, "only-for-tools-that-read-the-code")
os.environ.setdefault("DATABASE_URL", "postgresql:///nowhere")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")

from webapp.settings import *  # noqa: E402, F403 - settings are overridden, not used

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

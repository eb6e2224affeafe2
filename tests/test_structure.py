"""What a process that serves pages loads, and what it does not."""

from __future__ import annotations

import subprocess
import sys


def test_a_web_process_loads_neither_torch_nor_the_label_studio_sdk() -> None:
    code = (
        "import sys, django; django.setup(); "
        "import webapp.urls, webapp.wsgi, webapp.actions.label_studio, webapp.actions.sweeping; "
        "sys.exit(' '.join({'torch', 'transformers', 'label_studio_sdk'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

"""What the audit makes of records, without a broker."""

import subprocess
import sys


def test_replay_knows_every_message_in_a_process_of_its_own() -> None:
    code = (
        "from services.cli.main import app\nfrom events.message import KNOWN\nprint(*sorted(KNOWN))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("AccountOpened", "SiteCreated", "RunStarted", "RunRequested", "MessageAccepted"):
        assert f"septet.{name}.v1" in done.stdout

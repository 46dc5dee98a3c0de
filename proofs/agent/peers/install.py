"""The peers' libraries, in a folder that only their processes see."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from proofs.agent.video import ROOT
from proofs.converter.runs import one_thread

WANTED = ROOT / "requirements" / "peers.txt"
HERE = ROOT / "build" / "peers"
STUBS = Path(__file__).with_name("stubs")


def install() -> None:
    """Install what `requirements/peers.txt` lists, unless that was done.

    Raises:
        RuntimeError: pip failed; the message is its own.
    """
    mark, wanted = HERE / ".installed", f"{sys.version}\n{WANTED.read_text(encoding='utf-8')}"
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return
    shutil.rmtree(HERE, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-deps"]
    done = subprocess.run([*pip, "--target", HERE, "-r", WANTED], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip cannot install the peers: {done.stderr.strip()[-500:]}")
    mark.write_text(wanted, encoding="utf-8")


def environment() -> dict[str, str]:
    """Return a peer's environment: one thread, its libraries, and no word to anybody's server."""
    path = os.pathsep.join([str(HERE), str(STUBS)])
    settings = ROOT / "build" / "peers-settings"
    settings.mkdir(parents=True, exist_ok=True)
    return {
        **one_thread(),
        "PYTHONPATH": path,
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
        "YOLO_CONFIG_DIR": str(settings),
        "MPLCONFIGDIR": str(settings),
    }

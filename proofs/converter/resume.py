"""A conversion killed in mid-distillation and run again must end with the weights of an undisturbed one."""

import shutil
import subprocess
import time
from pathlib import Path

from outrider_bundle.bars import Row
from outrider_bundle.container import Bundle
from proofs.converter.runs import EXAMPLE, OUTRIDER, ROOT, WORK, convert, say

RECIPE = EXAMPLE / "short.toml"
PATIENCE_S = 900


def rows() -> tuple[Row, ...]:
    """Convert undisturbed, convert killed and again, and return the bar."""
    whole, broken = WORK / "resume-whole", WORK / "resume-broken"
    shutil.rmtree(broken, ignore_errors=True)
    convert(RECIPE, "--out", whole)
    kill_midway(broken)
    clean = not broken.exists()
    report = convert(RECIPE, "--out", broken)
    note = next(stage["note"] for stage in report["stages"] if stage["name"] == "distill")
    same = digests(whole) == digests(broken)
    how = f"kill -9 after the first checkpoint, run again ({note}); files of all variants compared"
    ok = same and clean and "continued" in note
    return (Row(id="resume.same", value=float(ok), sense="==", limit=1, unit="1 is yes", how=how),)


def kill_midway(out: Path) -> None:
    """Start a conversion and kill it once it has saved a checkpoint and gone on."""
    folder = out.parent / f".{out.name}.resume"
    shutil.rmtree(folder, ignore_errors=True)
    command = [str(OUTRIDER), "convert", str(RECIPE), "--out", str(out), "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        try:
            wait_for_checkpoint(process, folder)
            time.sleep(1.0)  # into the steps behind it
        finally:
            process.kill()
    say(f"resume: killed, {sorted(p.name for p in folder.iterdir())} left")


def wait_for_checkpoint(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Wait for a checkpoint of the distillation.

    Raises:
        RuntimeError: the conversion ended before, or took too long.
    """
    end = time.monotonic() + PATIENCE_S
    while not (folder.is_dir() and any(p.name.startswith("distill") for p in folder.iterdir())):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the conversion to be killed has written no checkpoint")
        time.sleep(0.2)


def digests(out: Path) -> dict[str, str]:
    """Return the digest of every file of every variant in the bundle in `out`."""
    (path,) = out.glob("*.orb")
    with Bundle.open(path) as bundle:
        names = {f.blob for v in bundle.manifest.variants for f in v.files}
        return {name: bundle.entry(name).sha256 for name in sorted(names)}

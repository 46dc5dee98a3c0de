"""Bad inputs, given to `outrider convert` as a user would: one message, an exit code, nothing half done."""

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from outrider_bundle.bars import Row
from proofs.converter.runs import OUTRIDER, run, say
from tests.fakes.toy import write_toy

INTERNAL = 70
"""The exit code of an error nobody has foreseen."""

Changes = tuple[tuple[str, str], ...]
REPORTS = frozenset({"out", "out/report.json", "out/report.html"})
"""What a missed budget may leave: the evidence, complete; never a bundle."""


class Case(Struct, frozen=True, kw_only=True):
    """A toy conversion with one fault in it, and a word of the message that must name it."""

    name: str
    says: str
    changes: Changes = ()
    spoil: Callable[[Path], None] | None = None
    leaves: frozenset[str] = frozenset()


def _append(name: str, text: str) -> Callable[[Path], None]:
    """Return what appends `text` to a file of the toy."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    return spoil


def _truncated(folder: Path) -> None:
    """Write the beginning of an ONNX file."""
    (folder / "teacher.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch\x1a")


NAN = """

def split():
    import numpy

    frames = numpy.random.default_rng(0).random((90, 6)).astype("float32")
    frames[40, 2] = float("nan")
    labels = numpy.arange(90) % 3
    return dict.fromkeys(("train", "validation", "test"), (frames, labels))
"""
FLAT = """

def teacher():
    return nn.Linear(6, 3)
"""


def _arrays(folder: Path) -> None:
    """Turn the toy's images into rows of numbers, one of which is NaN."""
    _append("data.py", NAN)(folder)
    _append("models.py", FLAT)(folder)


ARRAYS: Changes = (
    ("shape = [1, 1, 12, 12]", "shape = [1, 6]"),
    ('layout = "NCHW"', 'layout = "NC"'),
    ('kind = "image"\ncolor = "gray"', 'kind = "array"'),
    ('family = "res-cnn"', 'family = "mlp"'),
    ("shift = 1", "shift = 0"),
)
SORTING = """

class Sorting(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(144, 3)

    def forward(self, x):
        return self.head(torch.linalg.lstsq(x[:, 0], x[:, 0]).solution.flatten(1))


def sorting():
    return Sorting()
"""
QUICK: Changes = (("epochs = 6", "epochs = 0"), ("[prune]\nmacs = 0.2\nepochs = 2\nround_to = 4\n", ""))

CASES = (
    Case(name="missing key", says="hardware", changes=(('hardware = ["generic"]\n', ""),)),
    Case(name="wrong type", says="seed", changes=(("seed = 3", 'seed = "three"'),)),
    Case(name="unknown key", says="epochs", changes=(("epochs = 6", "epocs = 6"),)),
    Case(
        name="unreachable budget",
        says="budget",
        changes=(*QUICK, ("drop = 10.0", "drop = 0.0")),
        leaves=REPORTS,
    ),
    Case(name="NaN in data", says="NaN", changes=ARRAYS, spoil=_arrays),
    Case(
        name="other class count", says="labels", spoil=_append("data.py", '\nLABELS = ("a", "b", "c", "d")\n')
    ),
    Case(
        name="unsupported operator",
        says="export",
        changes=(*QUICK, ('family = "res-cnn"\nwidth = 8', 'callable = "models:sorting"')),
        spoil=_append("models.py", SORTING),
        leaves=REPORTS,
    ),
    Case(
        name="corrupt teacher",
        says="teacher.onnx",
        changes=(('callable = "models:teacher"', 'file = "teacher.onnx"'),),
        spoil=_truncated,
    ),
    Case(
        name="missing teacher",
        says="nowhere.onnx",
        changes=(('callable = "models:teacher"', 'file = "nowhere.onnx"'),),
    ),
    Case(
        name="failing teacher",
        says="broken",
        spoil=_append("models.py", "\n\ndef teacher():\n    raise OSError('broken')\n"),
    ),
    Case(name="unknown target", says="rpi5", changes=(("seed = 3", 'seed = 3\ntargets = ["rpi55"]'),)),
)


def rows() -> tuple[Row, ...]:
    """Run all cases and return the bar: how many do not end as they must."""
    faults = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            recipe = write_toy(folder, *case.changes)
            if case.spoil:
                case.spoil(folder)
            faults += _faults(case, folder, recipe)
    faults += _full_disk()
    for fault in faults:
        say(f"inputs: {fault}")
    how = f"{len(CASES) + 1} bad inputs: {', '.join(c.name for c in CASES)}, full disk"
    if faults:
        how = "; ".join(faults)[:400]
    return (Row(id="inputs.bad", value=float(len(faults)), sense="==", limit=0, unit="inputs", how=how),)


def _faults(case: Case, folder: Path, recipe: Path) -> list[str]:
    """Return what is wrong with how a case ends, as one line or none."""
    before = _listing(folder)
    done = run(recipe, "--out", folder / "out")
    new = _listing(folder) - before
    return _judge(case.name, case.says, done, new - case.leaves)


def _full_disk() -> list[str]:
    """Convert onto a disk of 128 KB, in a mount namespace of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe, disk = write_toy(folder, *QUICK), folder / "disk"
        disk.mkdir()
        script = (
            f'mount -t tmpfs -o size=128k tmpfs "{disk}" && '
            f'"{OUTRIDER}" convert "{recipe}" --out "{disk}/out"; '
            f'code=$?; find "{disk}" -mindepth 1; exit $code'
        )
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return _judge("full disk", "space", done, set(done.stdout.split()))


def _judge(
    name: str, says: str, done: subprocess.CompletedProcess[str], left: frozenset[str] | set[str]
) -> list[str]:
    messages = re.findall(r"^outrider: error: .*", done.stderr, re.MULTILINE)
    if done.returncode in (0, INTERNAL) or done.returncode < 0:
        return [f"{name}: exit code {done.returncode}: {done.stderr.strip()[-200:]}"]
    if len(messages) != 1 or "Traceback" in done.stderr + done.stdout:
        return [f"{name}: {len(messages)} messages: {done.stderr.strip()[-300:]}"]
    if says not in messages[0] or ". " not in messages[0]:
        return [f"{name}: no cause or cure in: {messages[0]}"]
    return [f"{name}: left {', '.join(sorted(left))}"] if left else []


def _listing(folder: Path) -> set[str]:
    """Return every file and folder but Python's own caches."""
    paths = (str(p.relative_to(folder)) for p in folder.rglob("*"))
    return {p for p in paths if "__pycache__" not in p}

"""Proof files: what a run measured against the bars it was built to.

Every proof and benchmark writes `build/proof/NAME.json`; `python -m outrider_bundle.bars` prints
them all as one table and fails if one is not met.
"""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from outrider_bundle.errors import OutriderError

PROOFS = Path("build/proof")
INTERESTING = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp", "i8mm")


class Row(Struct, frozen=True, kw_only=True):
    """One bar: `value` was measured by the run that writes it, `how` says by what means.

    A value that is not a number is None in a file: JSON has no word for it.
    """

    id: str
    value: float | None
    sense: Literal["<=", ">=", "=="]
    limit: float
    unit: str
    how: str

    @property
    def shown(self) -> str:
        """The value in five digits, or `-`."""
        return "-" if self.value is None else f"{self.value:.5g}"

    @property
    def ok(self) -> bool:
        """Whether the value keeps the limit; a value that is not a number keeps none."""
        if self.value is None or not math.isfinite(self.value):
            return False
        return {
            "<=": self.value <= self.limit,
            ">=": self.value >= self.limit,
            "==": self.value == self.limit,
        }[self.sense]


class Machine(Struct, frozen=True, kw_only=True):
    """The machine a proof ran on."""

    cpu: str
    isa: tuple[str, ...]
    cores: int


class Proof(Struct, frozen=True, kw_only=True):
    """A proof file as it is read back; `ok` of each row is recomputed, never trusted."""

    schema: Literal[1]
    commit: str
    machine: Machine
    rows: tuple[Row, ...]


def commit() -> str:
    """Return the checkout's commit, with `+` if files differ from it, or `unknown`."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def machine() -> Machine:
    """Describe this machine from `/proc/cpuinfo`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    pairs = [line.partition(":") for line in reversed(lines)]
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    name = fields.get("model name") or fields.get("Model") or "unknown"
    return Machine(cpu=name, isa=tuple(f for f in INTERESTING if f in flags), cores=os.cpu_count() or 1)


def write(name: str, rows: Sequence[Row], folder: Path = PROOFS) -> Path:
    """Write `folder/name.json` in one piece and return its path."""
    document = {
        "schema": 1,
        "commit": commit(),
        "machine": machine(),
        "rows": [{**msgspec.structs.asdict(row), "ok": row.ok} for row in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    draft = path.with_suffix(".tmp")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    draft.replace(path)
    return path


def read(path: Path) -> Proof:
    """Read a proof file.

    Raises:
        OutriderError: it is not one.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Proof)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise OutriderError(f"{path} is not a proof file: {error}", "Run its make target again") from error


def main(folder: Path = PROOFS) -> int:
    """Print every bar of every proof file; return 1 if one is missed or there are none."""
    from rich.console import Console  # noqa: PLC0415 - proofs are written on devices, which need no tables
    from rich.table import Table  # noqa: PLC0415

    table = Table("proof", "bar", "value", "", "limit", "unit", "ok", "how")
    missed = 0
    for path in sorted(folder.glob("*.json")):
        for row in read(path).rows:
            missed += not row.ok
            verdict = "[green]yes[/]" if row.ok else "[bold red]NO[/]"
            table.add_row(
                path.stem,
                row.id,
                row.shown,
                row.sense,
                f"{row.limit:g}",
                row.unit,
                verdict,
                row.how,
            )
    console = Console(width=None if sys.stdout.isatty() else 180)
    if not table.row_count:
        console.print(f"No proof files in {folder}. Run: make demo")
        return 1
    console.print(table)
    console.print(f"{table.row_count} bars, {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Everything that is wrong with a configuration, in one pass."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from outrider_agent.broker import BrokerOptions
from outrider_agent.checking import bundles, files, labels, neighbours, plug_ins
from outrider_agent.checking.bundles import Opened
from outrider_agent.checking.labels import Words
from outrider_agent.checking.reading import Branch, branches, judged
from outrider_agent.config import Device, Engine, Trust
from outrider_bundle import settings
from outrider_bundle.errors import OutriderError, UsageError
from outrider_bundle.manifest import ImagePreprocess, Manifest

S = TypeVar("S", bound=Struct)


class Report(Struct, frozen=True, kw_only=True):
    """What was found.

    Args:
        config: the file.
        device: its id, empty if that cannot be read.
        pipelines: their ids.
        faults: with these it does not run, or not as it is meant.
        warnings: with these it may run.
    """

    config: str
    device: str = ""
    pipelines: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def check(path: Path) -> Report:
    """Return all that is wrong with the configuration at `path`; nothing is started or opened but files."""
    try:
        table = settings.table(path, UsageError)
    except OutriderError as error:
        return Report(config=str(path), faults=(str(error),))
    checker = _Checker(table)
    checker.run()
    return Report(
        config=str(path),
        device=checker.device.id if checker.device else "",
        pipelines=tuple(str(branch.table.get("id", "?")) for branch in checker.branches),
        faults=tuple(dict.fromkeys(settings.unstopped(fault) for fault in checker.faults)),
        warnings=tuple(dict.fromkeys(checker.warnings)),
    )


class _Checker:
    """One pass over one configuration. Each part is judged as far as the others allow."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._table = table
        self.branches = branches(table)
        self.device = _made(table.get("device"), Device)
        self._trust = _made(table.get("trust", {}), Trust)
        self._opened: dict[Path, Opened] = {}
        self._keys: list[Path] = []
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def run(self) -> None:
        """Find everything."""
        self.faults += judged(self._table)
        self._keys, faults = files.keys(self._trust) if self._trust else ([], [])
        self.faults += faults
        if link := _made(self._table.get("link"), BrokerOptions):
            self.faults += files.broker(link, "link")
        for branch in self.branches:
            self._branch(branch)

    def _branch(self, branch: Branch) -> None:
        manifest = self._bundle(branch.table, branch.where)
        said = labels.words(manifest) if manifest else None
        details = self._cascade(branch, said)
        self.faults += neighbours.faults(branch, self._table)
        for placed in branch.plug_ins:
            self.faults += files.brokers(placed.part.options, placed.where)
            self.faults += plug_ins.faults(placed, manifest)
            if placed.part.kind == "rules" and said is not None:
                found = labels.rules(placed.part.options, said, details)
                self.faults += _placed(placed.where, found)

    def _cascade(self, branch: Branch, said: Words | None) -> tuple[str, ...] | None:
        """Judge the cascade of a pipeline; return what it can say, None if that is not known."""
        tables = branch.table.get("cascade")
        details: list[str] | None = []
        for at, table in enumerate(tables if isinstance(tables, list) else ()):
            where = f"{branch.where}.cascade[{at}]"
            manifest = self._bundle(table, where) if isinstance(table, dict) else None
            if manifest is None:
                details = None
                continue
            if details is not None:
                details += labels.words(manifest).labels
            if manifest.task != "classification" or not isinstance(
                manifest.inputs[0].preprocess, ImagePreprocess
            ):
                self.faults.append(f"{where}.bundle: what looks at objects must classify pictures")
            chosen = [one for one in _listed(table.get("labels")) if isinstance(one, str)]
            if said is not None:
                self.faults += _placed(where, labels.cascade(chosen, said))
        return None if details is None else tuple(details)

    def _bundle(self, table: dict[str, Any], where: str) -> Manifest | None:
        """Judge the bundle of a table and how it would run; return its manifest if there is one."""
        written = table.get("bundle")
        if not isinstance(written, str) or not written:
            return None
        path = Path(written)
        if path not in self._opened:
            self._opened[path] = bundles.opened(path, self.device, self._trust, self._keys)
        opened = self._opened[path]
        self.faults += [f"{where}.bundle: {fault}" for fault in opened.faults]
        self.warnings += [f"{where}.bundle: {warning}" for warning in opened.warnings]
        engine = _made(table.get("engine", {}), Engine)
        if engine is not None:
            self._engine(engine, opened.manifest, f"{where}.engine")
        return opened.manifest

    def _engine(self, engine: Engine, manifest: Manifest | None, where: str) -> None:
        if engine.python is not None and (why := files.unreadable(engine.python)):
            self.faults.append(f"{where}.python: {why}")
        if engine.user and not files.known_user(engine.user):
            self.faults.append(f"{where}.user: there is no user '{engine.user}'")
        if manifest is not None:
            faults, warnings = bundles.variants(manifest, engine, where)
            self.faults += faults
            self.warnings += warnings


def _made(written: object, kind: type[S]) -> S | None:
    """Return a table that has no fault; what is wrong with others is said elsewhere."""
    return settings.convert(written, kind, "")[0] if isinstance(written, dict) else None


def _placed(where: str, found: Iterable[str]) -> Iterator[str]:
    return (f"{where}.{line}" for line in found)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def text(report: Report) -> str:
    """Return a sound configuration's report in a line."""
    names = ", ".join(report.pipelines)
    return f"{report.config}: device {report.device}, pipelines {names}: no faults"

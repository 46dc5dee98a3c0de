"""The demo from its first step to its last."""

import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from rich.console import Console

from outrider_bundle.bars import Row
from outrider_bundle.errors import UsageError
from outrider_bundle.topics import Topics
from outrider_fleet import broker as brokers
from outrider_fleet.demo import agent_config, bars, conversion, device, line, summary
from outrider_fleet.demo.ledger import Ledger, Verdict, check
from outrider_fleet.demo.receiver import Receiver
from outrider_fleet.demo.records import AgentReport, Truth, read_bins

DEADLINE_MS = 100.0
"""How old an article's decision may be; at the default rate ten articles have passed by then."""

STEPS = 6
EXPORT = "export_images.py"
BINS = "bins.toml"


class Options(Struct, frozen=True, kw_only=True):
    """What the command line says.

    Args:
        examples: folder with the recipe, `export_images.py` and `bins.toml`.
        recipe: what to convert.
        out: folder for all that is made; device environments and proofs go beside it.
        frames: how many test images to sort.
        fps: frames a second.
        quiet: our standard output carries JSON; what other programs print goes to standard error.
    """

    examples: Path
    recipe: Path
    out: Path
    frames: int
    fps: float
    quiet: bool = False


class Outcome(Struct, frozen=True, kw_only=True):
    """What the demo found: `faults` has a phrase for each missed bar and each thing that went wrong."""

    summary: summary.Summary
    verdict: Verdict
    default: str
    rows: tuple[Row, ...]
    faults: tuple[str, ...]


class Sorted(Struct, frozen=True, kw_only=True):
    """What the sorting line left behind."""

    ledger: Ledger
    truth: Truth
    bins: dict[str, str]
    agent: AgentReport
    protocol: int


def rehearse(
    options: Options, console: Console, prepare: Callable[[Path, Path], device.Device] = device.prepare
) -> Outcome:
    """Run every step and judge what came of it.

    Args:
        options: from the command line.
        console: to show progress on.
        prepare: makes the environment that the agent runs in, from the checkout and a folder.

    Raises:
        UsageError: an option or the examples folder is wrong.
        LinkError: there is no broker.
        StepError: a step failed.
    """
    started_s = time.monotonic()
    checkout = preflight(options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "summary.json").unlink(missing_ok=True)
    heading(console, 1, "Install what a device installs")
    with console.status("pip; some minutes and 800 MB the first time"):
        installed = prepare(checkout, options.out.absolute().parent)
    heading(console, 2, "Convert: teacher to bundle")
    converted = conversion.convert(options.recipe, options.out / "bundle", quiet=options.quiet)
    heading(console, 3, "Sign")
    signed = conversion.sign(converted.bundle, options.out / "keys", quiet=options.quiet)
    done = sort(options, console, signed, installed.outrider)
    heading(console, 6, "Judge")
    predictions = converted.predictions[done.agent.variant]
    verdict = check(done.ledger, done.truth, done.bins, predictions, done.agent)
    found = summarize(converted, signed, done, verdict, time.monotonic() - started_s)
    rows = (*bars.student(found, signed.default), *bars.line(verdict), *bars.device(installed))
    faults = (*bars.missed(rows), *verdict.faults, *passed_over(signed.default, done.agent))
    return Outcome(summary=found, verdict=verdict, default=signed.default, rows=rows, faults=faults)


def preflight(options: Options) -> Path:
    """Find what would otherwise be missed after minutes of work; return the checkout's folder.

    Raises:
        UsageError: an option or the examples folder is wrong.
        LinkError: there is no broker.
    """
    for path in (options.recipe, options.examples / EXPORT, options.examples / BINS):
        if not path.is_file():
            raise UsageError(f"{path} is not there", "Run in a checkout, or say where: --examples, --recipe")
    brokers.program()
    for folder in options.examples.resolve().parents:
        if (folder / "pyproject.toml").is_file():
            return folder
    raise UsageError(
        f"{options.examples} is not part of a checkout", "The device's environment is installed from one"
    )


def sort(options: Options, console: Console, signed: conversion.Signed, outrider: Path) -> Sorted:
    """Run broker, receiver and agent until the belt is empty."""
    heading(console, 4, f"Put {options.frames} test images on the belt")
    bins = read_bins(options.examples / BINS, signed.labels)
    belt = options.out.absolute() / "line"
    truth = line.export(options.examples / EXPORT, belt, options.frames, quiet=options.quiet)
    heading(console, 5, f"Sort at {options.fps:g} images a second")
    ledger = Ledger(Topics(agent_config.FLEET, agent_config.DEVICE), agent_config.PIPELINE)
    folder = options.out.absolute()
    with (
        brokers.Broker(folder / "broker") as broker,
        Receiver(brokers.HOST, broker.port, ledger.filters) as receiver,
    ):
        settings = agent_config.Line(
            bundle=Path(signed.file.path).absolute(),
            key=signed.key.absolute(),
            images=belt / "images",
            state=folder / "agent" / "state",
            url=broker.url,
            app=signed.manifest.app,
            hardware=signed.manifest.hardware[0],
            fps=options.fps,
            bins=bins,
            deadline_ms=DEADLINE_MS,
        )
        link = (ledger, receiver)
        agent = line.run(settings, outrider, folder / "agent", link, console, len(truth.labels))
        return Sorted(ledger=ledger, truth=truth, bins=bins, agent=agent, protocol=receiver.protocol)


def summarize(
    converted: conversion.Converted,
    signed: conversion.Signed,
    done: Sorted,
    verdict: Verdict,
    seconds: float,
) -> summary.Summary:
    """Put together what `summary.json` says."""
    agent, ledger, report = done.agent, done.ledger, converted.report
    return summary.Summary(
        data=summary.Data(name=done.truth.name, test_images=done.truth.test_images),
        teacher=report.teacher,
        variants=report.variants,
        bundle=signed.file,
        agent=summary.Agent(
            frames=agent.frames,
            dropped=agent.dropped,
            accuracy=verdict.right,
            p50_ms=agent.p50_ms,
            p99_ms=agent.p99_ms,
            variant=agent.variant,
            placement=agent.where,
        ),
        mqtt=summary.Mqtt(
            broker=ledger.broker,
            protocol=done.protocol,
            telemetry=len(ledger.telemetry),
            events=len(ledger.events),
            lost=verdict.lost,
        ),
        seconds=round(seconds, 1),
    )


def passed_over(default: str, agent: AgentReport) -> tuple[str, ...]:
    """Say why the agent does not run the default variant."""
    if agent.variant == default:
        return ()
    why = "; ".join(f"{s.variant}: {s.reason}" for s in agent.skipped) or "it does not say why"
    return (f"the agent runs {agent.variant} instead of {default} ({why})",)


def heading(console: Console, number: int, title: str) -> None:
    """Announce a step."""
    console.rule(f"[bold]{number}/{STEPS}[/] {title}", align="left")

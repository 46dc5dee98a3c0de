"""Make the int8 files that the targets want of every float file, calibrated on training frames."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import nn

from outrider_bundle.errors import DataError, OutriderError
from outrider_converter import package, seeding
from outrider_converter.artifact import Artifact, Context
from outrider_converter.exports import Export
from outrider_converter.precision.gauge import Gauge
from outrider_converter.precision.makers import open_maker
from outrider_converter.precision.variant import Made, Source, make
from outrider_converter.quantization import kept
from outrider_converter.quantization.kept import Calibrations, Filed
from outrider_converter.recipe import QatOptions, QuantizeOptions
from outrider_converter.steps.distill import chosen
from outrider_converter.targets import Plan, plans

STEP = "quantize"


def quantize(artifact: Artifact, params: QuantizeOptions, context: Context) -> Artifact:
    """Return the artifact with int8 files beside each float file, or the reason why there are none.

    The ranges that were found are left in the scratch folder as `calibration.json`.

    Raises:
        DataError: `previous` holds no calibration.
    """
    recipe = replace(context.recipe, distill=chosen(context.recipe.distill, artifact))
    bench = Bench(artifact.model, params, replace(context, recipe=recipe))
    floats = [e for e in artifact.exports if e.precision == "float32"]
    wanted = [(e, plan) for e in floats for plan in plans(context.recipe, context.targets, e.runtime)]
    task = context.reporter.start("quantize", len(wanted))
    for export, plan in wanted:
        try:
            made = bench.variant(export, plan)
        except OutriderError as error:
            artifact = artifact.without(plan.id, str(error))
            continue
        finally:
            task.advance()
        artifact = artifact.with_export(made.export).decided(STEP, *made.decisions)
        artifact = replace(artifact, saturation=(*artifact.saturation, *made.saturation))
    kept.dump(Calibrations(runtimes=bench.filed), context.folder)
    return artifact


class Bench:
    """Float files opened for quantization, each calibrated once; the network is trained at most once."""

    def __init__(self, model: nn.Module, params: QuantizeOptions, context: Context) -> None:
        """Read what an earlier conversion has left.

        Raises:
            DataError: there is nothing to read.
        """
        self._model, self._params, self._context = model, params, context
        self._samples = model_inputs(context, params.samples)
        self._manifest = package.draft_of(context)
        self._previous = kept.load(params.previous).runtimes
        self._sources: dict[str, Source] = {}
        self._trained: list[nn.Module] = []
        self.filed: dict[str, Filed] = {}

    def variant(self, export: Export, plan: Plan) -> Made:
        """Return the variant `plan` of `export`, from a network trained for it if nothing else suffices.

        Raises:
            OutriderError: it cannot be made.
        """
        source = self._source(export)
        made = make(source, plan)
        if made.verdict.reason and self._params.qat is not None:
            made = self._retrained(export, plan, made)
        if source.maker.kept:
            text = f"{plan.id}: {source.maker.kept} ranges are those of the earlier conversion"
            made = replace(made, decisions=(*made.decisions, text))
        ranges = source.maker.filed(made.method)
        if ranges is not None:
            self.filed[export.runtime] = ranges
        return made

    def _source(self, export: Export) -> Source:
        if export.id not in self._sources:
            name, previous = self._context.recipe.input.name, self._previous.get(export.runtime)
            self._sources[export.id] = Source(
                export=export,
                maker=open_maker(export.runtime, export.path, self._samples, name, previous),
                gauge=Gauge(self._manifest, self._context, export),
                manifest=self._manifest,
                options=self._params,
                context=self._context,
            )
        return self._sources[export.id]

    def _retrained(self, export: Export, plan: Plan, before: Made) -> Made:
        """Return the variant made of a network trained for int8, unless it is no better."""
        try:
            path = self._context.folder / f"{export.id}-trained{export.path.suffix}"
            _export(export.runtime, self._train(), self._context, path)
            source = self._source(replace(export, id=f"{export.id}-trained", path=path))
            made = make(source, replace(plan, id=f"{plan.id}-trained"))
        except OutriderError as error:
            return _noted(before, f"{plan.id}: not trained for int8: {error}")
        text = (
            f"{plan.id}: trained for int8, {before.verdict.drop:.2f} to {made.verdict.drop:.2f} points under "
            "the teacher"
        )
        if made.verdict.reason and made.verdict.drop >= before.verdict.drop:
            return _noted(before, f"{text}; not taken")
        return replace(
            made,
            export=replace(made.export, id=plan.id),
            decisions=(*before.decisions, text, *made.decisions),
        )

    def _train(self) -> nn.Module:
        """Return the network trained for int8; with several plans the second gets the same."""
        if not self._trained:
            from outrider_converter.steps.qat import train_qat  # noqa: PLC0415 - rarely needed

            if isinstance(getattr(self._model, "files", None), dict):
                raise DataError("a black box cannot be trained", "Give the network in torch")
            task = self._context.reporter.start("train for int8", self._steps())
            options = self._params.qat or QatOptions()
            self._trained.append(train_qat(self._model, options, self._context, task))
        return self._trained[0]

    def _steps(self) -> int:
        count, epochs = len(self._context.data.train), self._params.qat.epochs if self._params.qat else 0
        return epochs * (count // min(self._context.recipe.distill.batch, count))


def _noted(made: Made, text: str) -> Made:
    return replace(made, decisions=(*made.decisions, text))


def _export(runtime: str, model: nn.Module, context: Context, path: Path) -> None:
    """Write a float file; formats are imported by name, because a runtime may not be installed."""
    module: Any = importlib.import_module(f"outrider_converter.formats.{runtime}")
    module.export(model, context.recipe, path)


def calibration_indices(context: Context, count: int) -> NDArray[np.int64]:
    """Return the sample numbers of the calibration set: drawn once from the training split, in order."""
    order = torch.randperm(
        len(context.data.train), generator=seeding.generator(context.recipe.seed, "calibration")
    )
    return np.sort(order[:count].numpy())


def model_inputs(context: Context, count: int) -> NDArray[np.float32]:
    """Return the calibration set as the network takes it, without batch: `(n, ...)` float32."""
    values = context.data.train.prepared[torch.from_numpy(calibration_indices(context, count))]
    return np.ascontiguousarray(context.views.normalize(values).numpy())

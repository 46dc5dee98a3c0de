"""Training for int8: what is folded, how is rounded, what it gains, and that nothing of it is left."""

import copy
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn import functional

from outrider_bundle.errors import DataError
from outrider_converter import measure
from outrider_converter.artifact import Artifact, Context
from outrider_converter.equivalence import Probe, alike
from outrider_converter.exports import Export
from outrider_converter.families import FAMILIES
from outrider_converter.formats import onnx
from outrider_converter.progress import NullReporter
from outrider_converter.qat.fold import fold
from outrider_converter.qat.network import rounded, take_weights
from outrider_converter.qat.rounding import RoundedInputs, RoundedWeights, weight_steps
from outrider_converter.quantization.safe import worst_pair
from outrider_converter.recipe import QatOptions, QuantizeOptions
from outrider_converter.seeding import seeded
from outrider_converter.steps.distill import plan
from outrider_converter.steps.qat import calibration, coarsest, train_qat
from outrider_converter.steps.quantize import quantize
from outrider_converter.targets import Scheme, built_in
from outrider_converter.training import train
from tests.fakes.contexts import toy_context

SHAPES = {"ds-cnn": (1, 1, 16, 16), "res-cnn": (1, 1, 16, 16), "ds-cnn-1d": (1, 3, 64), "mlp": (1, 12)}
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def family(kind: str) -> nn.Module:
    """Return a network whose statistics are not those of a new one."""
    with seeded(0, "net"):
        model = FAMILIES[kind](SHAPES[kind][1], 4, 8)
        model.train()(torch.randn(32, *SHAPES[kind][1:]) * 3 + 1)
    return model.eval()


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, NORMS)]


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_normalization_after_a_layer_is_folded(kind: str) -> None:
    model, probe = family(kind), Probe(SHAPES[kind])
    state = copy.deepcopy(model.state_dict())
    folded = fold(model, SHAPES[kind])
    assert norms(folded) == []
    assert alike(probe.ask(model), probe.ask(folded))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


class Unfoldable(nn.Module):
    """Normalizes first, reads a convolution twice, rectifies in place, and shares a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.zeroth = nn.BatchNorm2d(1)
        self.one, self.one_norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.two, self.two_norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.shared, self.shared_norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.last, self.last_norm = nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(self.zeroth(x))
        x = self.one_norm(y) + y
        x = self.two_norm(functional.relu_(self.two(x)))
        x = functional.relu(self.shared_norm(self.shared(x)))
        return self.last_norm(self.last(self.shared(x))).mean((2, 3))


def test_what_cannot_be_folded_is_left_alone() -> None:
    with seeded(0, "net"):
        model = Unfoldable()
        model.train()(torch.randn(16, 1, 16, 16) * 2 + 1)
    folded = fold(model.eval(), (1, 1, 16, 16))
    assert alike(Probe((1, 1, 16, 16)).ask(model), Probe((1, 1, 16, 16)).ask(folded))
    left = [name for name, module in folded.named_modules() if isinstance(module, NORMS)]
    assert left == ["zeroth", "one_norm", "two_norm", "shared_norm"]


def test_weights_are_rounded_by_channel_and_gradients_pass() -> None:
    with seeded(0, "weights"):
        weight = torch.randn(6, 4, 3, 3) * torch.tensor([0.01, 0.1, 1, 10, 100, 0])[:, None, None, None]
    weight.requires_grad_()
    for kind, limit in (("full", 127), ("reduced", 64)):
        grid = RoundedWeights(Scheme(weights=kind))(weight)  # type: ignore[arg-type]
        error = (grid - weight).detach()[:5].abs().amax((1, 2, 3))
        steps = weight.detach().abs().amax((1, 2, 3)) / limit
        whole = grid.detach()[:5] / steps[:5, None, None, None]
        assert torch.allclose(whole, whole.round(), atol=1e-3)
        assert int(whole.abs().max().round()) == limit
        assert float((error / steps[:5]).max()) <= 0.501
        assert float(grid.detach()[5].abs().max()) == 0
    grid.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))  # type: ignore[arg-type]


def test_pair_safe_steps_keep_sums_of_neighbours_in_16_bits() -> None:
    with seeded(0, "weights"):
        for weight in (torch.randn(8, 4, 3, 3), torch.randn(8, 32), torch.randn(8, 6, 5)):
            steps = weight_steps(weight, Scheme())
            grid = (RoundedWeights(Scheme())(weight) / steps.reshape(-1, *[1] * (weight.ndim - 1))).round()
            walked = np.moveaxis(grid.numpy(), 1, -1).reshape(8, -1)
            assert worst_pair(walked, weight.shape[1]).max() <= 128
    depthwise = torch.randn(8, 1, 3, 3)
    whole_bits = depthwise.abs().amax((1, 2, 3)) / 127
    assert torch.allclose(weight_steps(depthwise, Scheme(), len(depthwise)), whole_bits)
    assert (weight_steps(depthwise, Scheme()) > whole_bits).any()  # not depthwise
    whole = weight_steps(depthwise, Scheme(weights="full", per_channel=False))
    assert torch.allclose(whole, depthwise.abs().max().expand(8) / 127)


def test_inputs_are_rounded_to_256_levels_of_the_range_seen() -> None:
    watch = RoundedInputs().eval()
    watch.observing = True
    values = torch.linspace(-1, 3, 100)
    assert torch.equal(watch(values), values)
    watch(values * 0.1)
    assert (float(watch.low), float(watch.high)) == (-1.0, 3.0)
    watch.observing = False
    fine = torch.linspace(-2, 4, 5000, requires_grad=True)
    grid = watch(fine)
    assert len(grid.unique()) == 256
    assert 0.0 in grid
    error = (grid - fine).detach()[(fine > -0.99) & (fine < 2.99)]
    assert float(error.abs().max()) <= 0.51 * 4 / 255
    grid.sum().backward()
    inside = fine.grad[(fine > -0.99) & (fine < 2.99)]  # type: ignore[index]
    assert float(inside.min()) == 1.0
    assert float(fine.grad[0]) == float(fine.grad[-1]) == 0.0  # type: ignore[index]
    watch.train()(torch.tensor([5.0]))
    assert (float(watch.low), float(watch.high)) == pytest.approx((-0.99, 3.02))


class Awkward(nn.Module):
    """One hidden channel is 400 times as loud as all others, and is read 400 times as softly."""

    def __init__(self) -> None:
        super().__init__()
        with seeded(1, "awkward"):
            self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.head = nn.Linear(8 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.conv(x)))
        return self.head(functional.avg_pool2d(x, 2).flatten(1))

    def skew(self, factor: float) -> None:
        with torch.no_grad():
            self.norm.weight[0] *= factor
            self.norm.bias[0] *= factor
            self.head.weight[:, :36] /= factor


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Awkward, Context]:
    context = toy_context(tmp_path_factory.mktemp("qat"))
    how = replace(plan(context.recipe.distill, 0), epochs=4)
    model = train(Awkward(), context.views, how, NullReporter().start("", 0))
    assert isinstance(model, Awkward)
    model.skew(400.0)
    return model, context


def trained(model: nn.Module, context: Context, epochs: int = 6) -> nn.Module:
    options = QatOptions(epochs=epochs, learning_rate=2e-3)
    context = replace(context, checkpoints=None)  # or the second run would take the first one's result
    return train_qat(model, options, context, NullReporter().start("", 0))


def loss_in_int8(model: nn.Module, context: Context) -> tuple[float, float]:
    """Return cross-entropy and accuracy on the validation split after quantization of `model`."""
    net = rounded(fold(model, (1, 1, 12, 12)), coarsest(context), calibration(context))
    split = context.data.validation
    answers = measure.logits(net, split.prepared, context.views.normalize)
    loss = functional.cross_entropy(answers, torch.from_numpy(split.labels))
    return float(loss), measure.accuracy(answers, split.labels)


def test_training_for_int8_makes_up_for_awkward_ranges(bench: tuple[Awkward, Context]) -> None:
    model, context = bench
    split = context.data.validation
    in_float = measure.accuracy(measure.logits(model, split.prepared, context.views.normalize), split.labels)
    before, after = loss_in_int8(model, context), loss_in_int8(trained(model, context), context)
    assert in_float > 0.95
    assert before[1] < in_float - 0.2
    assert after[0] < 0.2 * before[0]
    assert after[1] > in_float - 0.03


def test_the_int8_file_itself_gets_better(bench: tuple[Awkward, Context], tmp_path: Path) -> None:
    model, context = bench
    path = tmp_path / "float.onnx"
    onnx.export(model, context.recipe, path)
    split = context.data.validation
    answers = measure.logits(context.teacher, split.prepared, context.views.normalize).argmax(1).numpy()
    known: Any = SimpleNamespace(validation=answers, files={}, outputs={}, scale=None)
    context = replace(context, folder=tmp_path, reference=known, checkpoints=None)
    params = QuantizeOptions(samples=64, max_reverts=0, qat=QatOptions(epochs=6, learning_rate=2e-3))
    export = Export(id="onnx-float32", runtime="onnx", precision="float32", path=path)
    made = quantize(Artifact(model=model, exports=(export,)), params, context)
    assert made.left_out == ()
    assert made.exports[-1].id == "onnx-int8"
    told = next(d.text for d in made.decisions if "trained for int8" in d.text)
    found = re.search(r"(-?[\d.]+) to (-?[\d.]+) points under the teacher", told)
    assert found is not None
    assert "not taken" not in told
    assert float(found[1]) > 20
    assert float(found[2]) < 3


def test_as_much_training_without_rounding_does_not(bench: tuple[Awkward, Context]) -> None:
    model, context = bench
    how = replace(
        plan(context.recipe.distill, 0), epochs=6, learning_rate=2e-3, schedule="cosine", weight_decay=0.0
    )
    control = train(fold(model, (1, 1, 12, 12)), context.views, how, NullReporter().start("", 0))
    assert loss_in_int8(control, context)[1] < loss_in_int8(trained(model, context), context)[1] - 0.2


def test_what_comes_out_is_a_plain_network_of_the_same_seed(
    bench: tuple[Awkward, Context], tmp_path: Path
) -> None:
    model, context = bench
    state = copy.deepcopy(model.state_dict())
    one, other = (trained(model, context, 1) for _ in range(2))
    assert measure.digest(one) == measure.digest(other)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert type(one) is Awkward
    assert {type(module) for module in one.modules()} == {Awkward, nn.Conv2d, nn.Identity, nn.Linear}
    assert list(one.state_dict()) == ["conv.weight", "conv.bias", "head.weight", "head.bias"]
    for module in one.modules():
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
    assert not one.training
    assert not torch.equal(one.head.weight, model.head.weight)
    grid = RoundedWeights(coarsest(context))(one.head.weight)
    assert not torch.equal(grid, one.head.weight)
    assert measure.cost(one, (1, 1, 12, 12)).macs == measure.cost(model, (1, 1, 12, 12)).macs
    onnx.export(one, context.recipe, tmp_path / "trained.onnx")
    assert (tmp_path / "trained.onnx").stat().st_size > 1000


def test_a_rounded_copy_is_of_its_own_and_gives_its_weights_back() -> None:
    plain = fold(family("res-cnn"), SHAPES["res-cnn"])
    before = copy.deepcopy(plain.state_dict())
    inputs = (torch.randn(8, 1, 16, 16),)
    net = rounded(plain, Scheme(), inputs)
    twin = copy.deepcopy(net)
    twin.train()(10 * inputs[0])
    ranges = [float(module.high) for module in net.modules() if isinstance(module, RoundedInputs)]
    others = [float(module.high) for module in twin.modules() if isinstance(module, RoundedInputs)]
    assert all(other > one for one, other in zip(ranges, others, strict=True))
    take_weights(plain, twin)
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


def test_the_coarsest_weights_of_all_files_are_trained_for(bench: tuple[Awkward, Context]) -> None:
    _, context = bench
    assert coarsest(context).weights == "pair-safe"
    by_name = {target.name: target for target in built_in()}
    vnni = replace(context, targets=(by_name["cpu-x86-vnni"],))
    assert coarsest(vnni).weights == "full"
    recipe = replace(context.recipe, quantize=replace(context.recipe.quantize, reduce_range=True))
    assert coarsest(replace(vnni, recipe=recipe)).weights == "reduced"


def test_a_network_without_layers_is_said(bench: tuple[Awkward, Context]) -> None:
    _, context = bench
    with pytest.raises(DataError, match=r"no layers to train for int8.*Leave quantize.qat out"):
        trained(nn.Flatten(), context)

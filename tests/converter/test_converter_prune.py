"""Pruning takes channels out of the graph; it does not mask them."""

import pytest
import torch
from torch import nn

from outrider_bundle.errors import DataError
from outrider_converter import seeding
from outrider_converter.measure import cost
from outrider_converter.recipe import PruneOptions
from outrider_converter.steps.prune import narrow
from outrider_converter.students import ds_cnn, res_cnn

SHAPE = (1, 1, 16, 16)


def net(kind: str) -> nn.Module:
    with seeding.seeded(0, "net"):
        return {"ds": ds_cnn, "res": res_cnn}[kind](1, 4, 16)


@pytest.mark.parametrize("kind", ["ds", "res"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_macs_and_parameters_really_shrink(kind: str, scope: str) -> None:
    model = net(kind)
    before = cost(model, SHAPE)
    options = PruneOptions(macs=0.3, round_to=4, scope=scope)  # type: ignore[arg-type]
    smaller = narrow(model, SHAPE, 0.7 * before.macs, options)
    after = cost(smaller, SHAPE)
    assert 0.4 * before.macs < after.macs <= 0.7 * before.macs
    assert after.params < 0.85 * before.params
    assert smaller(torch.zeros(3, *SHAPE[1:])).shape == (3, 4)
    assert cost(model, SHAPE) == before
    widths = [m.out_channels for m in smaller.modules() if isinstance(m, nn.Conv2d)]
    assert all(width % 4 == 0 for width in widths)


def test_the_least_important_channels_go() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 4))
    with torch.no_grad():
        for channel in range(8):
            model[0].weight[channel] = 0.1 * (channel + 1)  # type: ignore[index, operator]
            model[3].weight[:, channel * 256 : (channel + 1) * 256] = 0.1  # type: ignore[index, operator]
    smaller = narrow(model, SHAPE, 0.75 * cost(model, SHAPE).macs, PruneOptions(macs=0.25, round_to=1))
    kept = smaller[0].weight[:, 0, 0, 0].tolist()  # type: ignore[index]
    assert kept == pytest.approx([0.1 * (channel + 1) for channel in range(2, 8)])


def test_a_goal_out_of_reach_is_said() -> None:
    model = net("res")
    with pytest.raises(DataError, match="multiples of 8"):
        narrow(model, SHAPE, 10.0, PruneOptions(macs=0.99, round_to=8))


class Untraceable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"no forward today of {x.shape}")


def test_what_the_library_cannot_follow_is_said() -> None:
    with pytest.raises(DataError, match="no forward today"):
        narrow(Untraceable(), SHAPE, 1.0, PruneOptions(macs=0.5))

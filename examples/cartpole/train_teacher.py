"""Train the CartPole teacher and write `teacher.safetensors`.

    python examples/cartpole/train_teacher.py

The network imitates a linear-quadratic regulator (Kalman, "Contributions to the theory of optimal control",
1960), on states that both visit: first the regulator's own, then, in rounds, those that the network itself
gets into (Ross, Gordon and Bagnell, "A Reduction of Imitation Learning and Structured Prediction to
No-Regret Online Learning", arXiv 1011.0686). Nothing is tuned on the seeds it is judged by.
"""

import argparse
import json

import models
import numpy as np
import plant
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

GRAVITY, CART, POLE, HALF, FORCE, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
"""Of the plant: m/s2, kg, kg, half of the pole's length in m, N, s a step."""

COSTS = (1.0, 0.1, 10.0, 0.1)
"""Of place, speed, angle and the pole's speed; that of the force is 1e-3."""

FIRST_SEED, EPISODES, ROUNDS = 50_000, 60, 4
JUDGED_BY = range(40_000, 40_050)


def gains() -> NDArray[np.float64]:
    """Return how hard to push per unit of each quantity: the solution of the discrete Riccati equation."""
    total = CART + POLE
    lever = HALF * (4 / 3 - POLE / total)
    fall, push = GRAVITY / lever, -1 / (total * lever)
    slide, drive = -POLE * HALF * fall / total, 1 / total - POLE * HALF * push / total
    change = np.array([[0, 1, 0, 0], [0, 0, slide, 0], [0, 0, 0, 1], [0, 0, fall, 0]])
    a, b = np.eye(4) + TAU * change, TAU * np.array([[0.0], [drive], [0.0], [push]])
    cost, price = np.diag(COSTS), np.array([[1e-3]])
    p = cost
    for _ in range(5_000):
        p = cost + a.T @ p @ a - a.T @ p @ b @ np.linalg.solve(price + b.T @ p @ b, b.T @ p @ a)
    return np.linalg.solve(price + b.T @ p @ b, b.T @ p @ a)[0]


def regulator(gain: NDArray[np.float64]) -> plant.Act:
    """Return the policy that pushes to the side the regulator does, as hard as the plant does."""

    def act(state: ArrayLike) -> int:
        return int(-gain @ np.asarray(state) > 0)

    return act


def fit(model: nn.Module, seen: plant.States, gain: NDArray[np.float64], epochs: int) -> float:
    """Train on what the regulator does in the states `seen` and return the last loss."""
    inputs = (torch.from_numpy(seen) - torch.tensor(models.MEAN)) / torch.tensor(models.STD)
    actions = torch.from_numpy((-seen @ gain > 0).astype(np.int64))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    steps = epochs * (len(seen) // 256)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss = torch.zeros(())
    for _ in range(epochs):
        for batch in torch.randperm(len(seen)).split(256)[: len(seen) // 256]:
            loss = functional.cross_entropy(model(inputs[batch]), actions[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return float(loss.detach())


def main() -> None:
    """Run the training and write the weights."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--epochs", type=int, default=15, help="of each round")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    gain, model, act = gains(), models.Teacher(), None
    found = []
    for number in range(ROUNDS):
        first = FIRST_SEED + number * EPISODES
        found.append(plant.states(act or regulator(gain), range(first, first + EPISODES), noise=0.2))
        loss = fit(model, np.concatenate(found), gain, args.epochs)
        act = models.policy(model)
        print(f"round {number + 1}: {sum(map(len, found))} states, loss {loss:.4f}", flush=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, models.WEIGHTS)
    figures = {
        "regulator": float(np.mean(plant.rewards(regulator(gain), JUDGED_BY))),
        "teacher": float(np.mean(plant.rewards(models.policy(model), JUDGED_BY))),
        "seeds": f"{JUDGED_BY[0]} to {JUDGED_BY[-1]}",
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

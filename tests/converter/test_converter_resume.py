"""Trainings that are killed and run again end with the weights of an undisturbed one, bit by bit."""

import copy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from outrider_converter import measure, seeding
from outrider_converter.plan import Plan
from outrider_converter.recipe import HintOptions
from outrider_converter.training import learn
from outrider_converter.views import View
from tests.fakes import killed as killed_process
from tests.fakes.toy import write_toy

PLAN = Plan(
    purpose="distill",
    seed=1,
    epochs=4,
    batch=16,
    temperature=2.0,
    alpha=0.5,
    learning_rate=0.01,
    weight_decay=0.01,
    average=0.9,
)
STEPS = 4 * 4
HINTS = (HintOptions(teacher="0", student="0"),)


class Killed(BaseException):
    """Stands for the end of the process."""


class Memory:
    """Keeps states in memory, due at every step, as copies that training cannot change."""

    def __init__(self) -> None:
        self.states: dict[str, Any] = {}
        self.saves = 0

    def load(self, purpose: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.states.get(purpose))

    def save(self, purpose: str, state: dict[str, Any]) -> None:
        self.states[purpose] = copy.deepcopy(state)
        self.saves += 1

    def due(self) -> bool:
        return True


class Task:
    """Counts steps and ends the process before one of them."""

    def __init__(self, last: int = 10**6) -> None:
        self.left, self.done, self.notes = last, 0, ""

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        self.notes = f"{self.notes}|{note}" if note else self.notes
        if count == 1:
            self.left -= 1
        if self.left < 0:
            raise Killed


class Linear:
    """A linear problem and its teacher."""

    numbers = False

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(64, 4, generator=source)
        with seeding.seeded(0, "teacher"):
            self.teacher = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
        self.answers = self.ask(self.inputs)
        self.labels = self.answers.argmax(1)

    def get(self, epoch: int) -> View:
        return View((self.values(epoch), self.answers))

    def values(self, epoch: int) -> torch.Tensor:
        return self.inputs + 0.01 * (epoch % 2)

    def fresh(self, index: torch.Tensor, source: torch.Generator) -> torch.Tensor:
        return self.inputs[index] + 0.1 * torch.randn(len(index), 4, generator=source)

    def normalize(self, values: torch.Tensor) -> torch.Tensor:
        return values

    def ask(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            answers: torch.Tensor = self.teacher(inputs)
        return answers

    def accuracy(self, model: nn.Module) -> float:
        with torch.no_grad():
            share = float((model(self.inputs).argmax(1) == self.labels).float().mean())
        return round(share, 1)


def net() -> nn.Module:
    with seeding.seeded(1, "net"):
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def killed(plan: Plan, kept: Memory, last: int) -> None:
    with pytest.raises(Killed):
        learn(net(), Linear(), plan, Task(last), kept)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        replace(PLAN, online=True, schedule="cosine"),
        replace(PLAN, patience=1),
        replace(PLAN, patience=9),
        replace(PLAN, hints=HINTS),
        replace(PLAN, hints=HINTS, online=True, patience=3),
    ],
    ids=["cached", "online", "stopped early", "patient", "hints", "all"],
)
def test_wherever_it_is_killed_the_weights_are_the_same(plan: Plan) -> None:
    whole = learn(net(), Linear(), plan, Task())  # type: ignore[arg-type]
    assert bool(whole.notes) == (plan.patience == 1)
    steps = STEPS if not whole.notes else 4 * int(whole.notes[0].split()[3].rstrip(","))
    for last in range(1, steps):
        kept = Memory()
        killed(plan, kept, last)
        task = Task()
        again = learn(net(), Linear(), plan, task, kept)  # type: ignore[arg-type]
        assert measure.digest(again.model) == measure.digest(whole.model)
        assert task.done == STEPS
        assert again.notes == (f"continued at epoch {last // 4 + 1}", *whole.notes)


def test_it_may_be_killed_again_and_again() -> None:
    kept = Memory()
    for _ in range(5):
        killed(PLAN, kept, 3)
    again = learn(net(), Linear(), PLAN, Task(), kept)  # type: ignore[arg-type]
    whole = learn(net(), Linear(), PLAN, Task())  # type: ignore[arg-type]
    assert measure.digest(again.model) == measure.digest(whole.model)


def test_what_is_finished_is_not_done_again() -> None:
    kept, views = Memory(), Linear()
    whole = learn(net(), views, replace(PLAN, patience=1), Task(), kept)  # type: ignore[arg-type]
    views.get = None  # type: ignore[assignment, method-assign]
    task = Task()
    again = learn(net(), views, replace(PLAN, patience=1), task, kept)  # type: ignore[arg-type]
    assert measure.digest(again.model) == measure.digest(whole.model)
    assert not again.model.training
    assert task.done == STEPS
    assert again.notes == (*whole.notes, "taken from an earlier run")


def test_the_state_of_another_plan_or_another_network_is_not_taken() -> None:
    kept = Memory()
    killed(PLAN, kept, 9)
    other = replace(PLAN, temperature=3.0)
    expected = learn(net(), Linear(), other, Task())  # type: ignore[arg-type]
    assert learn(net(), Linear(), other, Task(), copy.deepcopy(kept)).notes == ()  # type: ignore[arg-type]
    found = learn(net(), Linear(), other, Task(), copy.deepcopy(kept))  # type: ignore[arg-type]
    assert measure.digest(found.model) == measure.digest(expected.model)
    wider = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))
    assert learn(wider, Linear(), PLAN, Task(), copy.deepcopy(kept)).notes == ()  # type: ignore[arg-type]


def test_what_takes_no_time_is_not_worth_a_file() -> None:
    kept = Memory()
    kept.due = lambda: False  # type: ignore[method-assign]
    learn(net(), Linear(), PLAN, Task(), kept)  # type: ignore[arg-type]
    assert kept.saves == 0


def run(folder: Path, last: int) -> "subprocess.CompletedProcess[str]":
    """Distil by the recipe in `folder` in a process that kills itself before a step."""
    command = [sys.executable, killed_process.__file__, str(folder), str(last)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def test_a_process_killed_by_sigkill_is_continued_by_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_toy(tmp_path / "recipe", ("width = 8", "width = 4"), ("epochs = 6", "epochs = 3")).parent
    first = run(folder, 30)
    assert first.returncode == -signal.SIGKILL, first.stderr
    assert (folder / ".out.resume" / "distill.pt").exists()
    second = run(folder, 10**6)
    assert second.returncode == 0, second.stderr
    note, digest = second.stdout.splitlines()
    assert "continued at epoch 2" in note
    assert not (folder / ".out.resume").exists()
    killed_process.main(folder, 10**6)
    assert capsys.readouterr().out.splitlines() == ["3 epochs, T=2, alpha=0.5", digest]

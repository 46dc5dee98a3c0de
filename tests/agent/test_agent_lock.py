"""Two agents with one id refuse each other."""

from pathlib import Path
from typing import Any

import pytest

from outrider_agent import config as configuration
from outrider_agent import lock
from outrider_agent.config import Config
from outrider_bundle.errors import OutriderError
from tests.fakes import agents, null_bundle


def config(folder: Path, url: str | None, **device: str) -> Config:
    null_bundle.write(folder / "sorter.orb")
    null_bundle.write_images(folder / "images", 1)
    table: dict[str, Any] = agents.document(folder, url)
    table["device"] |= device
    made, faults = configuration.examine(table)
    assert made, faults
    return made


def test_an_id_at_a_broker_is_for_one_agent(tmp_path: Path) -> None:
    first = config(tmp_path, "mqtt://127.0.0.1:1", state_dir=str(tmp_path / "one"))
    second = config(tmp_path, "mqtt://127.0.0.1:1", state_dir=str(tmp_path / "two"))
    with lock.alone(first), pytest.raises(OutriderError, match=r"Another agent runs as .* device.id"):  # noqa: SIM117
        with lock.alone(second):
            pass
    with lock.alone(second):
        pass


def test_others_are_no_matter(tmp_path: Path) -> None:
    url = "mqtt://127.0.0.1:1"
    with (
        lock.alone(config(tmp_path, url)),
        lock.alone(config(tmp_path, "mqtt://127.0.0.1:2")),
        lock.alone(config(tmp_path, url, id="another")),
        lock.alone(config(tmp_path, url, fleet="another")),
        lock.alone(config(tmp_path, None)),
        lock.alone(config(tmp_path, None)),
    ):
        pass

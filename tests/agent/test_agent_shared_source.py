"""Several pipelines in one agent, on one source and on sources of their own."""

import json
from pathlib import Path

import pytest

from outrider_agent import config
from outrider_bundle.errors import UsageError
from tests.fakes import agents, null_bundle
from tests.fakes.agents import AgentProcess
from tests.fakes.broker import Broker, Listener

COUNT = 40
SHARED = {"id": "belt-camera", "kind": "images"}


def written(folder: Path, url: str | None, **tables: object) -> dict[str, object]:
    """Return two pipelines on one source, which differ in what they do."""
    document = agents.document(folder, url)
    (pipeline,) = document["pipelines"]
    second = {
        **pipeline,
        "id": "audit",
        "source": "belt-camera",
        "policy": {"kind": "rules", "rules": [{"label": "bag", "data": {"bin": "right"}}]},
    }
    source = {**SHARED, "path": str(folder / "images"), "fps": 0.0}
    return {
        **document,
        "sources": [source],
        "pipelines": [{**pipeline, "source": "belt-camera"}, second],
        **tables,
    }


def test_two_pipelines_see_every_frame_of_one_source(tmp_path: Path) -> None:
    null_bundle.write(tmp_path / "sorter.orb")
    wanted = null_bundle.write_images(tmp_path / "images", COUNT)
    with Broker(tmp_path / "broker") as broker, Listener(broker.port) as ears:
        with AgentProcess(tmp_path, written(tmp_path, f"mqtt://127.0.0.1:{broker.port}")) as agent:
            assert agent.wait() == 0, agent.log
        acts = [(h.topic.rpartition("/")[2], json.loads(h.payload)) for h in ears.heard if "/act/" in h.topic]
    belt = {act["frame"]: act["label"] for name, act in acts if name == "belt"}
    audit = {act["frame"]: act["label"] for name, act in acts if name == "audit"}
    assert belt == wanted
    assert audit == {frame: label for frame, label in wanted.items() if label == "bag"}
    assert agent.summary["frames"] == 2 * COUNT
    assert agent.summary["dropped"] == 0


def read(folder: Path, document: dict[str, object]) -> config.Config:
    return config.read(agents.write(folder / "agent.toml", document))


def test_pipelines_on_one_source_share_its_options(tmp_path: Path) -> None:
    null_bundle.write_images(tmp_path / "images", 1)
    found = read(tmp_path, written(tmp_path, None))
    assert [pipeline.shared for pipeline in found.pipelines] == ["belt-camera", "belt-camera"]
    assert found.pipelines[0].source is found.pipelines[1].source


@pytest.mark.parametrize(
    ("sources", "fault"),
    [
        ([], "pipelines[0].source: there is no source 'belt-camera' among [[sources]]: none"),
        ([{"kind": "images", "path": "x"}], "sources[0].id: give it"),
        ([{**SHARED, "path": "x"}, {**SHARED, "path": "x"}], "sources[1].id: there is another source"),
        (
            [{**SHARED, "path": "x"}, {"id": "spare", "kind": "images", "path": "x"}],
            "sources[1]: no pipeline names the source 'spare'",
        ),
        ([{**SHARED, "path": 3}], "sources[0].path: expected str, got int"),
        ([{"id": "belt-camera", "kind": "film"}], "sources[0].kind: There is no 'film' among the sources"),
    ],
)
def test_what_is_wrong_with_shared_sources_is_said(
    tmp_path: Path, sources: list[dict[str, object]], fault: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, written(tmp_path, None, sources=sources))
    assert fault in str(caught.value)

"""What is measured, and the configuration of an agent that runs it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from outrider_agent.bench.feed import Feed
from outrider_agent.broker import BrokerOptions
from outrider_agent.config import Config, Device, Engine, Isolation, Pipeline, PipelineTable, Trust
from outrider_agent.parts import ACTIONS, POLICIES, Part, find
from outrider_bundle.errors import OutriderError
from outrider_bundle.manifest import Manifest
from outrider_runtime.session import Array

PIPELINE = "bench"
LONG_S = 3600.0
"""Nothing here is idle or stale: the loop waits between blocks."""

DEADLINE_MS = 60_000.0
RULES = {"rules": [{"label": "*", "cooldown_s": 1.0}]}
"""A decision a second, as a device that reports what it sees."""


class Setup(Struct, frozen=True, kw_only=True):
    """What is measured.

    Args:
        bundle: path of the `.orb` file.
        images: frames, decoded beforehand.
        variant: its id; None for the best that proves itself.
        isolation: of the engine.
        threads: of one inference; None for the runtime's own.
        link: a broker to report to; None for none.
    """

    bundle: Path
    images: Sequence[Array]
    variant: str | None = None
    isolation: Isolation = "auto"
    threads: int | None = None
    link: BrokerOptions | None = None


class NoOptions(Struct, frozen=True):
    """The source has none."""


def configure(setup: Setup, manifest: Manifest, feed: Feed, state_dir: Path) -> Config:
    """Return the configuration of an agent that runs `setup` on the frames of `feed`.

    Raises:
        OutriderError: a plug-in that comes with the agent is not there.
    """
    actions = [{"kind": "mqtt" if setup.link else "log"}]
    policy = {"kind": "rules", **RULES}
    return Config(
        device=Device(
            id="bench",
            fleet="bench",
            app=manifest.app,
            hardware=manifest.hardware[0],
            state_dir=state_dir,
        ),
        trust=Trust(allow_unsigned=True),
        link=setup.link,
        pipelines=(
            Pipeline(
                table=PipelineTable(
                    id=PIPELINE,
                    bundle=setup.bundle,
                    source={"kind": "frames"},
                    policy=policy,
                    actions=tuple(actions),
                    engine=Engine(
                        isolation=setup.isolation,
                        deadline_ms=DEADLINE_MS,
                        threads=setup.threads,
                        variant=setup.variant,
                    ),
                    idle_s=LONG_S,
                    stale_s=LONG_S,
                ),
                source=Part(kind="frames", plugin=lambda *_: feed, options=NoOptions()),
                policy=_part(POLICIES, policy),
                actions=tuple(_part(ACTIONS, action) for action in actions),
            ),
        ),
    )


def _part(group: str, table: Mapping[str, object]) -> Part:
    part, faults = find(group, table, group)
    if part is None:
        raise OutriderError("; ".join(faults))
    return part

"""Pipelines and the sources that feed them, as one configuration wants them: built first, then set to work.

A second assembly, for a reload, is built beside the first: it takes over pipelines, sources and actions that
are as they were, and touches none of them before it is set to work.
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from outrider_agent import parts
from outrider_agent.admission import Admitted, admit
from outrider_agent.config import Config
from outrider_agent.config import Pipeline as PipelineConfig
from outrider_agent.engine.crew import NoneProvenError
from outrider_agent.events import Events
from outrider_agent.fanout import Fanout
from outrider_agent.feeder import Feeder
from outrider_agent.mailbox import Mailbox
from outrider_agent.parts import Part
from outrider_agent.pipeline import Pipeline, Setting, Supply
from outrider_agent.seams import Action, Context
from outrider_agent.summary import Skipped

MAX_REASON = 2000

Admit = Callable[[PipelineConfig], tuple[Admitted, ...]]


class Around(Struct, frozen=True, kw_only=True):
    """What all pipelines have around them.

    Args:
        context: of a pipeline or source, by its name.
        events: where theirs go.
        on_change: called from their threads when a report has changed.
        progress: told of each step that may take long.
    """

    context: Callable[[str], Context]
    events: Events
    on_change: Callable[[], None]
    progress: Callable[[str], None]


class Feed(Struct, frozen=True, kw_only=True, eq=False):
    """A source at work for all pipelines that name it."""

    part: Part
    feeder: Feeder
    fanout: Fanout


class Place(Struct, frozen=True, kw_only=True, eq=False):
    """A pipeline, what it was made of, and where its frames come from."""

    pipeline: Pipeline
    config: PipelineConfig
    bundles: tuple[str, ...]
    feed: Feed
    mailbox: Mailbox


class Assembly:
    """What one configuration comes to; used by one thread at a time.

    Args:
        config: what is wanted.
        around: it.
        former: what runs now, to take from; None at the start.
    """

    def __init__(self, config: Config, around: Around, former: "Assembly | None" = None) -> None:
        """Build nothing yet."""
        self.config, self._around, self._former = config, around, former
        self.places: dict[str, Place] = {}
        self._feeds: dict[str, Feed] = {}

    @property
    def pipelines(self) -> list[Pipeline]:
        """All that are built, in the order of the configuration."""
        return [place.pipeline for place in self.places.values()]

    @property
    def feeders(self) -> set[Feeder]:
        """All that read a source."""
        return {feed.feeder for feed in self._feeds.values()}

    def admit(self, config: PipelineConfig) -> tuple[Admitted, ...]:
        """Return the bundles of a pipeline, its own first, that may run here.

        Raises:
            BundleError: one may not.
        """
        table, device, trust = config.table, self.config.device, self.config.trust
        wanted = [(table.bundle, table.engine), *((one.bundle, one.engine) for one in table.cascade)]
        progress = self._around.progress
        return tuple(admit(bundle, device, trust, engine, progress) for bundle, engine in wanted)

    def build(self, config: PipelineConfig, admitted: Sequence[Admitted]) -> Pipeline:
        """Build a pipeline: its models are loaded and proven; it does not run yet.

        Raises:
            NoneProvenError: no variant of a bundle can be run here.
            OutriderError: a plug-in cannot be built.
        """
        name, around = config.table.id, self._around
        setting = Setting(
            context=around.context(name),
            events=around.events,
            state_dir=self.config.device.state_dir,
            on_change=around.on_change,
            progress=around.progress,
        )
        feed, mailbox = self._feed(config), Mailbox()
        supply = Supply(
            admitted=admitted[0],
            seconds=tuple(admitted[1:]),
            feeder=feed.feeder,
            mailbox=mailbox,
            actions=self._given(config),
        )
        try:
            pipeline = Pipeline(config, supply, setting)
        except NoneProvenError as error:
            if self._former is None:  # a reload that is refused has told of nothing else
                self._say_skipped(name, error.skipped)
            raise
        if self._former is None:
            self._say_skipped(name, pipeline.keeper.crew.skipped)
        digests = tuple(one.slot.digest for one in admitted)
        self.places[name] = Place(
            pipeline=pipeline, config=config, bundles=digests, feed=feed, mailbox=mailbox
        )
        return pipeline

    def same(self, config: PipelineConfig, admitted: Sequence[Admitted]) -> Place | None:
        """Return a pipeline that runs and is as it is wanted; None if there is none."""
        place = self._former.places.get(config.table.id) if self._former else None
        digests = tuple(one.slot.digest for one in admitted)
        if place is None or place.config != config or place.bundles != digests or place.pipeline.error:
            return None
        return place

    def keep(self, place: Place) -> None:
        """Take over a pipeline that runs, as it is."""
        self.places[place.config.table.id] = place
        if place.feed.feeder.reads:
            self._feeds[_key(place.config)] = place.feed

    def begin(self) -> None:
        """Set all that is new to work."""
        former = self._former
        known = former.places.values() if former else ()
        running = former.feeders if former else set()
        fresh = [place for place in self.places.values() if place not in known]
        for place in fresh:
            place.feed.fanout.add(place.mailbox)
        for place in fresh:
            place.pipeline.start()
            if former:
                self._say_skipped(place.pipeline.id, place.pipeline.keeper.crew.skipped)
        for feeder in self.feeders - running:
            feeder.start()
        self._former = None

    def end_former(self) -> None:
        """Stop what ran before and is wanted no more, or differently; its outputs are safe then."""
        former = self._former
        if former is None:
            return
        for feeder in former.feeders - self.feeders:
            feeder.stop()
        for name, place in former.places.items():
            if self.places.get(name) is not place:
                place.feed.fanout.remove(place.mailbox)
                place.mailbox.close()
                successor = self.places.get(name)
                place.pipeline.stop(leaving=successor.pipeline.given if successor else ())

    def discard(self) -> None:
        """Free what was built, before it began; what was taken over goes on."""
        known = [] if self._former is None else list(self._former.places.values())
        running = self._former.feeders if self._former else set()
        for place in self.places.values():
            if place not in known:
                place.pipeline.discard()
        for feeder in self.feeders - running:
            feeder.stop()

    def end(self) -> None:
        """Stop everything: sources first, so that nobody waits for a frame."""
        for feeder in self.feeders:
            feeder.stop()
        for pipeline in self.pipelines:
            pipeline.stop()

    def _given(self, config: PipelineConfig) -> Mapping[str, Action]:
        """Return the actions of the same pipeline that can be taken over: outputs are not opened twice."""
        before = self._former.places.get(config.table.id) if self._former else None
        if before is None or before.pipeline.finished:
            return {}
        return before.pipeline.actions_like(config.actions)

    def _feed(self, config: PipelineConfig) -> Feed:
        """Return what reads the source of a pipeline, the same for all that share it."""
        name, key = config.shared or config.table.id, _key(config)
        before = self._former.feed(key) if self._former else None
        if key not in self._feeds and before and before.part == config.source and before.feeder.reads:
            self._feeds[key] = before
        if key not in self._feeds:
            source, fanout = parts.source(config.source, self._around.context(name)), Fanout()
            self._feeds[key] = Feed(part=config.source, feeder=Feeder(source, fanout, name), fanout=fanout)
        return self._feeds[key]

    def feed(self, key: str) -> Feed | None:
        """Return what reads a source, None if nobody does."""
        return self._feeds.get(key)

    def _say_skipped(self, pipeline: str, skipped: Sequence[Skipped]) -> None:
        for one in skipped:
            reason = one.reason[:MAX_REASON]
            data = {"part": "variant", "state": "skipped", "variant": one.variant, "reason": reason}
            self._around.events.emit(pipeline, "fault", data)


def _key(config: PipelineConfig) -> str:
    return f"shared/{config.shared}" if config.shared else config.table.id

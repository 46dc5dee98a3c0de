"""What arrived from the sorting line, checked against what should have. No broker, file or clock in here."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from outrider_bundle.errors import MessageError
from outrider_bundle.messages import codec
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import Reported
from outrider_bundle.messages.state import State
from outrider_bundle.messages.telemetry import Telemetry
from outrider_bundle.topics import Topics
from outrider_fleet.demo.records import AgentReport, Truth

BROKER_VERSION = "$SYS/broker/version"


class Decision(Struct, frozen=True, kw_only=True):
    """What the agent decided on a frame; `bin` is what the rule of the label adds."""

    label: str
    index: int
    bin: str


class Act(Struct, frozen=True, kw_only=True):
    """A message of the mqtt action: what a gate of the sorting line would act on.

    `run` and `seq` are those of the event that says the same.
    """

    run: str
    seq: int
    frame: str
    label: str
    bin: str


class Ledger:
    """Takes down one run's messages as they come in."""

    def __init__(self, topics: Topics, pipeline: str) -> None:
        """Listen to one device and one of its pipelines."""
        self._topics = topics
        self._act = topics.act(pipeline)
        self.broker = ""
        self.states: list[State] = []
        self.reported: list[Reported] = []
        self.telemetry: list[Telemetry] = []
        self.events: dict[tuple[str, int], Event] = {}
        self.acts: dict[tuple[str, int], Act] = {}
        self.duplicates = 0

    @property
    def filters(self) -> tuple[str, ...]:
        """The topics to subscribe to."""
        up = self._topics
        return (up.state, up.reported, up.telemetry, up.events, self._act, BROKER_VERSION)

    def take(self, topic: str, payload: bytes) -> None:
        """Take down one message; one that came before is counted and dropped.

        Raises:
            MessageError: it is not of the form its topic asks for.
        """
        if topic == self._topics.events:
            self._take_event(codec.decode(payload, Event))
        elif topic == self._act:
            self._take_act(codec.decode(payload, Act))
        elif topic == self._topics.telemetry:
            self.telemetry.append(codec.decode(payload, Telemetry))
        elif topic == self._topics.state:
            self.states.append(codec.decode(payload, State))
        elif topic == self._topics.reported:
            self.reported.append(codec.decode(payload, Reported))
        elif topic == BROKER_VERSION:
            self.broker = payload.decode("utf-8", "replace").replace(" version", "")

    def decisions(self, run: str) -> dict[str, list[Decision]]:
        """Return the decisions of `run` by frame.

        Raises:
            MessageError: one does not say what was decided.
        """
        found: dict[str, list[Decision]] = {}
        for event in self.of_run(run):
            if event.kind == "decision":
                found.setdefault(event.frame, []).append(decision(event))
        return found

    def of_run(self, run: str) -> list[Event]:
        """Return the events of `run` in the order they were numbered."""
        return [event for (owner, _), event in sorted(self.events.items()) if owner == run]

    def _take_event(self, event: Event) -> None:
        self.duplicates += (event.run, event.seq) in self.events
        self.events[event.run, event.seq] = event

    def _take_act(self, act: Act) -> None:
        self.duplicates += (act.run, act.seq) in self.acts
        self.acts[act.run, act.seq] = act


def decision(event: Event) -> Decision:
    """Return what `event` decides.

    Raises:
        MessageError: it does not say.
    """
    try:
        return msgspec.convert(event.data, Decision)
    except msgspec.ValidationError as error:
        raise MessageError(f"Event {event.seq} of frame '{event.frame}' is no decision: {error}") from error


class Verdict(Struct, frozen=True, kw_only=True):
    """The outcome.

    Args:
        fed: frames put on the belt.
        decided: frames with a decision that arrived.
        right: share of them that agree with the true label.
        exact: frames whose decision is not the variant's own, or that have none without being dropped.
        lost: events and bin messages that were published and did not arrive.
        duplicates: messages that arrived twice; allowed at QoS 1.
        dropped_share: frames dropped or late, over `fed`.
        bins: how many articles each bin got.
        faults: what else is not as it must be, one phrase each.
    """

    fed: int
    decided: int
    right: float
    exact: int
    lost: int
    duplicates: int
    dropped_share: float
    bins: dict[str, int]
    faults: tuple[str, ...]


def check(
    ledger: Ledger, truth: Truth, bins: Mapping[str, str], predictions: Sequence[int], agent: AgentReport
) -> Verdict:
    """Compare what arrived with labels, predictions and the agent's own account.

    Args:
        ledger: what arrived.
        truth: the true label of each frame that was fed.
        bins: the bin of each label.
        predictions: the variant's own answers by number of the test image.
        agent: what the agent says of itself.
    """
    decided = ledger.decisions(agent.run)
    fed = len(truth.labels)
    right = sum(all(d.label == truth.labels.get(frame) for d in ds) for frame, ds in decided.items())
    dropped = agent.dropped + agent.late
    return Verdict(
        fed=fed,
        decided=len(decided),
        right=right / len(decided) if decided else 0.0,
        exact=differing(decided, truth, predictions) + max(0, len(truth.labels.keys() - decided) - dropped),
        lost=lost_events(ledger, agent) + lost_acts(ledger, agent),
        duplicates=ledger.duplicates,
        dropped_share=dropped / fed if fed else 1.0,
        bins=filled(ledger),
        faults=(*conduct(ledger, agent), *misrouted(ledger, bins)),
    )


def differing(decided: Mapping[str, Sequence[Decision]], truth: Truth, predictions: Sequence[int]) -> int:
    """Count the frames on which a decision is not the variant's own; a frame never fed is one."""
    return sum(
        frame not in truth.labels or any(d.index != predictions[int(frame)] for d in decisions)
        for frame, decisions in decided.items()
    )


def lost_events(ledger: Ledger, agent: AgentReport) -> int:
    """Count events that did not arrive: by the agent's count or by gaps in their numbers, what is more."""
    arrived = ledger.of_run(agent.run)
    numbered = arrived[-1].seq + 1 if arrived else 0
    return max(agent.events, numbered) - len(arrived)


def lost_acts(ledger: Ledger, agent: AgentReport) -> int:
    """Count decisions whose bin message did not arrive."""
    return max(0, agent.decisions - sum(run == agent.run for run, _ in ledger.acts))


def filled(ledger: Ledger) -> dict[str, int]:
    """Return how many articles each bin got, fullest first."""
    counts: dict[str, int] = {}
    for act in ledger.acts.values():
        counts[act.bin] = counts.get(act.bin, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def misrouted(ledger: Ledger, bins: Mapping[str, str]) -> tuple[str, ...]:
    """Say if bin messages contradict the table of bins, or the event that they stand for."""
    wrong = 0
    for key, act in ledger.acts.items():
        event = ledger.events.get(key)
        meant = None if event is None else (event.frame, decision(event).label)
        wrong += act.bin != bins.get(act.label) or meant not in (None, (act.frame, act.label))
    return (f"{wrong} articles were sent to a bin that their decision does not name",) if wrong else ()


def conduct(ledger: Ledger, agent: AgentReport) -> tuple[str, ...]:
    """Say what a well-behaved agent would have reported and this one did not."""
    states = [state.status for state in ledger.states if state.run == agent.run]
    reports = [r for r in ledger.reported if r.run == agent.run]
    variants = {p.variant for r in reports for p in r.pipelines.values()}
    counted = sum(p.frames for t in ledger.telemetry if t.run == agent.run for p in t.pipelines.values())
    return tuple(
        fault
        for missing, fault in (
            ("online" not in states, "the agent's birth did not arrive"),
            (states[-1:] != ["offline"], "the agent did not say that it went offline"),
            (agent.variant not in variants, f"no report named the variant {agent.variant}"),
            (
                counted != agent.frames,
                f"telemetry counted {counted} frames, the agent {agent.frames}",
            ),
            (agent.errors > 0, f"the agent counted {agent.errors} errors"),
        )
        if missing
    )

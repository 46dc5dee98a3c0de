"""The seams of the agent: what a source, a policy, an action and a link are to it.

Each plug-in is one module with one class and one entry point, in the group `outrider.sources`,
`outrider.policies` or `outrider.actions`; third parties use the same groups. The class has an inner
frozen struct `Options` (its table in the configuration, without `kind`) and is built as

    Source(options, context)      Policy(options)      Action(options, context)

A class that is of no use without a broker says `needs_link = True`, or has a static method of that name
that says so of its options. A class may have `faults(options, manifest)`, a static method by which
`outrider agent check` judges its options against the bundle (see `checking`), and `example(folder)`, one that
returns options which run without hardware, as a configuration would hold them; the contract suite under
`tests/contract/` uses it.

A policy may have `explain(perception, state, now) -> Sequence[str]`, pure like `decide` and given what that
was given: for each thing that it could decide one line that says why it does, or what is lacking; and
`rearm(state)`, pure: the state to go on with after outputs were made safe, so that what is still there is
decided on again. An action that works in a thread may have `settle(wait_s)`, which returns once its work is
done and raises if it failed or takes longer.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from outrider_agent.broker import BrokerOptions
from outrider_agent.buffers import keep
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics
from outrider_runtime.perception import Perception
from outrider_runtime.session import Array


class Frame(Struct, frozen=True, kw_only=True):
    """One input.

    Args:
        id: the source's name for it; what events call it.
        time_s: when it was taken, on the clock of `time.monotonic`.
        array: a picture, uint8 of `(h, w)` gray or `(h, w, 3)` BGR, or a sample of numbers in the shape of
            the model's input without its batch dimension; the source's own until `release` is called.
        seq: counts from 0 in each source.
        release: gives `array` back to the source; called once, by whoever drops or has read it.
    """

    id: str
    time_s: float
    array: Array
    seq: int
    release: Callable[[], None] = keep


class Decision(Struct, frozen=True, kw_only=True):
    """What a policy wants done: JSON values that actions and events carry as they are."""

    data: dict[str, Any]


@runtime_checkable
class Publisher(Protocol):
    """Where messages go. Neither method blocks on the network, raises for it or tells of success."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        """Send a message; QoS 1 is kept while there is no connection, QoS 0 is not."""
        ...

    def retain(self, topic: str, payload: bytes) -> None:
        """Make `payload` the retained message of `topic`, now and after every reconnection."""
        ...


class NullPublisher:
    """A device without a link: everything is dropped."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        """Do nothing."""

    def retain(self, topic: str, payload: bytes) -> None:
        """Do nothing."""


class Context(Struct, frozen=True, kw_only=True):
    """What a plug-in may know of the agent around it.

    Args:
        pipeline: its id; of a source that several pipelines share, the source's id.
        topics: of the device.
        link: where messages go.
        broker: the agent's own broker, for a plug-in that needs a connection of its own; None without one.
    """

    pipeline: str
    topics: Topics
    link: Publisher
    broker: BrokerOptions | None = None


@runtime_checkable
class Source(Protocol):
    """Where frames come from. It is read in a thread of its own and may be slow there."""

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield frames as they come, and None whenever none came within `wait_s`; end with the input.

        Raises:
            OutriderError: there will be no more frames, and that is a fault.
        """
        ...

    def close(self) -> None:
        """End the iteration soon, from any thread, and free the device; idempotent."""
        ...


@runtime_checkable
class Policy(Protocol):
    """What follows from a perception. Pure: no clock, no device, no memory but `state`."""

    def initial(self) -> Any:  # noqa: ANN401 - a policy's state is its own affair
        """Return the state before the first perception."""
        ...

    def decide(self, perception: Perception, state: Any, now: float) -> tuple[Sequence[Decision], Any]:  # noqa: ANN401
        """Return the decisions on `perception` and the next state.

        Args:
            perception: what the model saw.
            state: of the call before, or of `initial`; never changed in place.
            now: seconds on a clock that does not jump.
        """
        ...


@runtime_checkable
class Action(Protocol):
    """What is done with a decision. Called by the loop, so it must not wait."""

    def apply(self, decision: Event) -> None:
        """Do what `decision.data` says.

        Raises:
            OutriderError: it was not done.
        """
        ...

    def safe_state(self) -> None:
        """Bring outputs to their declared safe state: perception is stale, or the agent stops."""
        ...

    def close(self) -> None:
        """Free the outputs; idempotent."""
        ...

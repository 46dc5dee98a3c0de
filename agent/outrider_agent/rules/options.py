"""What a rule may say in the configuration."""

from typing import Annotated

from msgspec import Meta, Struct

from outrider_agent.decisions import hidden
from outrider_agent.rules.region import Anchor, Corners, Share, region
from outrider_bundle.manifest import Scalar

ANY = "*"
OWN = frozenset({"label", "score", "index", "box", "count"})
Name = Annotated[str, Meta(min_length=1)]
Frames = Annotated[int, Meta(ge=1, le=100_000)]


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule: it looks for a label or for a value.

    Args:
        label: what must be seen; `*` for any, which then must stay the same, whatever else is seen.
        min_score: how sure the model must be, 0..1.
        region: where the object must be, in shares of the frame: `[left, top, width, height]`, or at least
            three corners `[x, y]`. Nothing but an object has a place or a detail: with a region or a detail,
            a rule never fires on a classification, a control or an anomaly.
        anchor: what of the object's box must be there: its `center`, the middle of its `bottom`, or `any`
            part of it.
        detail: the label that a second model must have seen in the object's box; `*` for any.
        min_detail_score: how sure that model must be, 0..1.
        value: the name of a number, instead of a label: one of a regression or a control, or `score` of an
            anomaly. A number that is not finite counts as gone.
        above: the value must be more than this; with `below`, it must be between the two.
        below: the value must be less than this.
        frames: perceptions in a row that it takes; firing uses them up.
        cooldown_s: how long it does not fire again.
        rate_count: how many decisions it makes at most in `rate_s`; those on release count as well, and one
            is not made if there is no room left for the other that ends it.
        rate_s: seconds; the span slides.
        release_score: once it has fired, a label is on until its score is below this or it is gone, and only
            then may the rule fire again, on this label or another; at most `min_score`.
        release: the same for a value: it is on until it is no longer above (or below) this.
        release_frames: perceptions in a row that it takes to be released.
        released: makes a decision on release too, with this data and `state = "off"`.
        data: goes into the decision, for the actions to read.
    """

    label: Name = ANY
    min_score: Share = 0.0
    region: Corners | None = None
    anchor: Anchor = "center"
    detail: Name | None = None
    min_detail_score: Share = 0.0
    value: Name | None = None
    above: float | None = None
    below: float | None = None
    frames: Frames = 1
    cooldown_s: Annotated[float, Meta(ge=0.0)] = 0.0
    rate_count: Annotated[int, Meta(ge=1, le=1000)] | None = None
    rate_s: Annotated[float, Meta(gt=0.0)] | None = None
    release_score: Share | None = None
    release: float | None = None
    release_frames: Frames = 1
    released: dict[str, Scalar] | None = None
    data: dict[str, Scalar] = {}

    @property
    def stays(self) -> bool:
        """Whether it is on from firing until its release."""
        return self.release_score is not None or self.release is not None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, all of it at once."""
        looks = _of_label(self) if self.value is None else _of_value(self)
        if faults := [*_of_data(self), *looks, *_of_times(self)]:
            raise ValueError("; ".join(faults))


def own(rule: Rule) -> frozenset[str]:
    """Return the names of what decisions of `rule` say themselves."""
    names = OWN
    if rule.stays:
        names |= {"state"}
    if rule.detail is not None:
        names |= {"detail", "detail_score"}
    if rule.value is not None:
        names |= {"value", "name"}
    return names


def _of_data(rule: Rule) -> list[str]:
    tables = {"data": rule.data, "released": rule.released or {}}
    return [fault for name, table in tables.items() for fault in hidden(name, table, own(rule))]


def _of_label(rule: Rule) -> list[str]:
    """Return what is wrong with a rule that looks for a label."""
    faults = [
        f"{name} needs a value" for name in ("above", "below", "release") if getattr(rule, name) is not None
    ]
    if rule.region is not None:
        try:
            region(rule.region)
        except ValueError as error:
            faults.append(f"region: {error}")
    elif rule.anchor != "center":
        faults.append("anchor needs a region")
    if rule.min_detail_score and rule.detail is None:
        faults.append("min_detail_score needs a detail")
    if rule.release_score is not None and rule.release_score > rule.min_score:
        faults.append("release_score must be at most min_score")
    return faults


def _of_value(rule: Rule) -> list[str]:
    """Return what is wrong with a rule that looks for a value."""
    alien = {
        "a label": rule.label != ANY,
        "min_score": rule.min_score,
        "a region": rule.region is not None,
        "an anchor": rule.anchor != "center",
        "a detail": rule.detail is not None,
        "min_detail_score": rule.min_detail_score,
        "release_score": rule.release_score is not None,
    }
    faults = [f"a rule with a value cannot have {name}" for name, there in alien.items() if there]
    above, below, release = rule.above, rule.below, rule.release
    if above is None and below is None:
        faults.append("value needs above or below")
    if above is not None and below is not None:
        if above >= below:
            faults.append("above must be less than below; two rules watch both ends")
        if release is not None:
            faults.append("release needs above or below, not both")
    elif release is not None:
        if above is not None and release > above:
            faults.append("release must be at most above")
        if below is not None and release < below:
            faults.append("release must be at least below")
    return faults


def _of_times(rule: Rule) -> list[str]:
    faults: list[str] = []
    if (rule.rate_count is None) != (rule.rate_s is None):
        faults.append("rate_count and rate_s need each other")
    if rule.rate_count == 1 and rule.released is not None:
        faults.append("rate_count must be at least 2 with released: one on, one off")
    if not rule.stays:
        kind = "release_score" if rule.value is None else "release"
        faults += [f"released needs {kind}"] if rule.released is not None else []
        faults += [f"release_frames needs {kind}"] if rule.release_frames != 1 else []
    return faults

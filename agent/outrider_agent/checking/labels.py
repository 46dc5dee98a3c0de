"""What a model can ever say, held against what rules and cascades wait for."""

from collections.abc import Iterator, Sequence
from typing import cast

from msgspec import Struct

from outrider_agent.policies.rules import RulesOptions
from outrider_agent.rules.options import ANY, Rule
from outrider_bundle.faults import near
from outrider_bundle.manifest import (
    AnomalyDecoder,
    ClassificationDecoder,
    ControlDecoder,
    DetectionDecoder,
    Manifest,
    RegressionDecoder,
    SsdDecoder,
)


class Words(Struct, frozen=True, kw_only=True):
    """What a model can say.

    Args:
        labels: it may see.
        values: names of numbers that it gives.
        places: whether what it sees is somewhere in the picture.
    """

    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    places: bool = False


def words(manifest: Manifest) -> Words:
    """Return what the model of `manifest` can say."""
    decoder = manifest.outputs[0].decoder
    if isinstance(decoder, DetectionDecoder | SsdDecoder):
        return Words(labels=decoder.labels, places=True)
    if isinstance(decoder, ClassificationDecoder):
        return Words(labels=decoder.labels)
    if isinstance(decoder, AnomalyDecoder):
        return Words(labels=("anomaly", "normal"), values=("score",))
    if isinstance(decoder, ControlDecoder):
        discrete = decoder.space == "discrete"
        return Words(labels=decoder.names if discrete else (), values=decoder.names)
    return Words(values=decoder.names) if isinstance(decoder, RegressionDecoder) else Words()


def rules(options: Struct, said: Words, details: Sequence[str] | None) -> Iterator[str]:
    """Yield what no rule of the policy `rules` can ever see.

    Args:
        options: of the policy.
        said: what its model can say.
        details: what the models of the cascade can say; None while that is not known.
    """
    for at, rule in enumerate(cast("RulesOptions", options).rules):
        for option, fault in _rule(rule, said, details):
            yield f"rules[{at}].{option}: {fault}"


def _rule(rule: Rule, said: Words, details: Sequence[str] | None) -> Iterator[tuple[str, str]]:
    if rule.value is not None:
        if rule.value not in said.values:
            yield "value", _unknown("gives no number", rule.value, said.values)
        return
    if not said.labels:
        yield "label", "the model names nothing, it gives numbers; write a rule with 'value'"
    elif rule.label not in {ANY, *said.labels}:
        yield "label", _unknown("never sees", rule.label, said.labels)
    if rule.region is not None and not said.places:
        yield "region", "the model does not say where anything is; leave the region out, or take a detector"
    if rule.detail is not None and details is not None:
        if not details:
            yield "detail", "nothing looks at details; add a [[pipelines.cascade]] table with a classifier"
        elif rule.detail not in {ANY, *details}:
            yield "detail", _unknown("is never seen by the cascade:", rule.detail, details)


def cascade(labels: Sequence[str], said: Words) -> Iterator[str]:
    """Yield what is wrong with a cascade that looks at objects with `labels`."""
    if not said.places:
        yield "bundle: a cascade looks at objects, and the pipeline's model detects none"
        return
    for at, label in enumerate(labels):
        if label not in said.labels:
            yield f"labels[{at}]: {_unknown('never sees', label, said.labels)}"


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    return f"the model {what} '{name}'; {near(name, known)}"

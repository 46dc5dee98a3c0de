"""What leaves with a decision: its flat JSON, and the value of an output.

An output's key is one of the decision's data or, where these hold `names` and `values` as a regression or a
continuous control has them, one of the names. A key that is not there leaves its output as it is.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from outrider_bundle.errors import OutriderError
from outrider_bundle.messages.event import Event

Key = Annotated[str, Meta(min_length=1, max_length=128)]


def flat(decision: Event) -> bytes:
    """Return flat JSON: `run`, `seq`, `time`, `pipeline` and `frame` of the event, and its data."""
    return msgspec.json.encode(
        {
            **decision.data,
            "run": decision.run,
            "seq": decision.seq,
            "time": decision.time,
            "pipeline": decision.pipeline,
            "frame": decision.frame,
        }
    )


def value(key: str, data: Mapping[str, Any]) -> float | None:
    """Return the number for the output `key`, 0 or 1 for a truth value; None if `data` does not tell it.

    Raises:
        OutriderError: what stands there is no number.
    """
    found = data[key] if key in data else _named(key, data)
    if found is None:
        return None
    if not isinstance(found, bool | int | float) or not math.isfinite(found):
        raise OutriderError(
            f"The decision's {key} is {str(found)[:40]!r} and no number", "Let the policy decide on numbers"
        )
    return float(found)


def _named(key: str, data: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever the policy put there
    names, values = data.get("names"), data.get("values")
    if not (isinstance(names, list | tuple) and isinstance(values, list | tuple)) or key not in names:
        return None
    at = names.index(key)
    return values[at] if at < len(values) else None

"""Options of a runtime: a closed list with types, so that a misspelled one is refused."""

import difflib
from collections.abc import Mapping

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Scalar


def known(runtime: str, given: Mapping[str, Scalar], defaults: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return `defaults` overlaid with `given`.

    Args:
        runtime: for the message.
        given: options from the manifest and the config.
        defaults: every option there is; a given value must have the type of its default.

    Raises:
        EngineError: an option is unknown (its neighbour is named) or of the wrong type.
    """
    for name, value in given.items():
        if name not in defaults:
            close = difflib.get_close_matches(name, defaults, n=1)
            cure = f"Did you mean '{close[0]}'?" if close else f"Options: {', '.join(sorted(defaults))}"
            raise EngineError(f"The runtime {runtime} has no option '{name}'", cure)
        if type(value) is not type(defaults[name]):
            wanted = type(defaults[name]).__name__
            raise EngineError(f"Option '{name}' of the runtime {runtime} is {value!r}", f"Give a {wanted}")
    return {**defaults, **given}


def threads(runtime: str, options: Mapping[str, Scalar]) -> int:
    """Return the option `threads`; `runtime` is for the message.

    Raises:
        EngineError: it is not 1 to 256.
    """
    count = int(options["threads"])
    most = 256
    if not 1 <= count <= most:
        raise EngineError(f"Option 'threads' of the runtime {runtime} is {count}", f"Give 1 to {most}")
    return count


def pairs(runtime: str, option: str, text: str) -> dict[str, str]:
    """Return what `text` says as `key=value;key=value`; nothing for an empty one.

    Args:
        runtime: for the message, like `option`.
        option: whose value, or part of it, `text` is.
        text: a value may hold anything but a semicolon; spaces around keys and values do not count.

    Raises:
        EngineError: an entry has no key or no `=`, or a key comes twice.
    """
    found: dict[str, str] = {}
    for entry in text.split(";") if text.strip() else []:
        key, equals, value = (part.strip() for part in entry.partition("="))
        if not key or not equals:
            what = f"Option '{option}' of the runtime {runtime} has '{entry.strip()}' where key=value must be"
            raise EngineError(what, "Write key=value;key=value")
        if key in found:
            raise EngineError(f"Option '{option}' of the runtime {runtime} has '{key}' twice", "Give it once")
        found[key] = value
    return found

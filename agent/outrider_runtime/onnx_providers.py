"""ONNX Runtime's execution providers as one string, in order of preference, each with its options.

    CUDAExecutionProvider(device_id=0;arena_extend_strategy=kSameAsRequested),CPUExecutionProvider

Nothing here imports the library.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from outrider_bundle.errors import EngineError
from outrider_runtime.options import pairs

CPU = "CPUExecutionProvider"
ITEM = re.compile(r"\s*(\w+)\s*(?:\(([^()]*)\)\s*)?(?:,|\Z)")
EXAMPLE = f"Give for example 'CUDAExecutionProvider(device_id=0),{CPU}'"


class Provider(Struct, frozen=True):
    """A provider and its options, which are text to ONNX Runtime."""

    name: str
    options: dict[str, str] = {}

    def __str__(self) -> str:
        """Return it as it is written in the list."""
        options = ";".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}({options})" if options else self.name


def parse(text: str) -> tuple[Provider, ...]:
    """Return the providers of a list.

    Raises:
        EngineError: it is empty or not written like one, or names a provider or an option twice.
    """
    found: list[Provider] = []
    at = 0
    while at < len(text):
        item = ITEM.match(text, at)
        if item is None:
            what = f"Option 'providers' of the runtime onnx cannot be read from '{text[at:].strip()}' on"
            raise EngineError(what, EXAMPLE)
        found.append(Provider(item[1], pairs("onnx", "providers", item[2] or "")))
        at = item.end()
    if not found:
        raise EngineError("Option 'providers' of the runtime onnx is empty", EXAMPLE)
    _check(found)
    return tuple(found)


def demand(providers: Sequence[Provider], available: Sequence[str]) -> None:
    """Check that all `providers` are built into the library.

    Raises:
        EngineError: one is not.
    """
    for provider in providers:
        if provider.name not in available:
            cure = f"Here are: {', '.join(available)}. Install the onnxruntime build that has it"
            raise EngineError(f"ONNX Runtime has no provider '{provider.name}' here", cure)


def asked(providers: Sequence[Provider]) -> str:
    """Return the provider that should take the nodes; empty if that is the CPU's, which takes any."""
    return "" if providers[0].name == CPU else providers[0].name


def without(providers: Sequence[Provider], available: Sequence[str]) -> str:
    """Return the next best list: without what is missing, or else without the first, and with the CPU's."""
    here = [provider for provider in providers if provider.name in available]
    rest = here if len(here) < len(providers) else here[1:]
    if not any(provider.name == CPU for provider in rest):
        rest = [*rest, Provider(CPU)]
    return ",".join(map(str, rest))


def _check(found: Sequence[Provider]) -> None:
    names = [provider.name for provider in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise EngineError(f"Option 'providers' of the runtime onnx names {twice} twice", "Name it once")
    if any(provider.name == CPU and provider.options for provider in found):
        # The library would ignore them.
        raise EngineError(f"The provider {CPU} has no options", "Set threads = 2 for more threads")

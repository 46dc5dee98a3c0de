"""What another configuration changes of a running agent. Pure."""

from msgspec.structs import replace

from outrider_agent.config import Config

LIVE = ("pipelines", "trust")
"""What a reload changes; all else is who the agent is and how it talks, and changes with a restart."""


def restarts(running: Config, wanted: Config) -> tuple[str, ...]:
    """Return what is wanted differently and needs a restart, by its names in the file."""
    names: list[str] = []
    for table in (name for name in Config.__struct_fields__ if name not in LIVE):
        before, after = getattr(running, table), getattr(wanted, table)
        if before == after:
            continue
        if before is None or after is None or type(before) is not type(after):
            names.append(table)
            continue
        fields = type(before).__struct_fields__
        names += [f"{table}.{key}" for key in fields if getattr(before, key) != getattr(after, key)]
    return tuple(names)


def effective(running: Config, wanted: Config) -> Config:
    """Return `wanted` as far as it can be had without a restart."""
    return replace(running, **{name: getattr(wanted, name) for name in LIVE})


def contradictions(running: Config, wanted: Config) -> list[str]:
    """Return why `wanted` cannot be had before a restart at all."""
    if running.link is not None:
        return []
    return [
        f"{pipeline.table.id}: '{part.kind}' needs the broker of [link], which there is after a restart only"
        for pipeline in wanted.pipelines
        for part in (pipeline.source, pipeline.policy, *pipeline.actions)
        if part.needs_link
    ]

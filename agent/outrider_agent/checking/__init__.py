"""All that can be known to be wrong with a configuration before it runs, without the hardware it names.

A plug-in can say more than its `Options` do: a static method `faults(options, manifest)` returns lines, each
of which begins with the option that it is about, for example `path: there is no folder frames`. `manifest` is
that of the pipeline's bundle, or None while there is none to read. It touches no device and no network.
"""

"""What a reader is built for: the tensors at both ends of a variant."""

from msgspec import Struct

from outrider_bundle.manifest import Input, Output, Tensor


class Ends(Struct, frozen=True, kw_only=True):
    """The tensors that a reader has to do with.

    Args:
        output: the first logical output.
        tensors: the variant's physical outputs; their shapes, dtypes and quantization are what is read.
        given: the logical input.
        fed: the variant's physical input.
    """

    output: Output
    tensors: tuple[Tensor, ...]
    given: Input
    fed: Tensor

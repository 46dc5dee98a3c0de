"""From a model's output tensor to a perception."""

from outrider_runtime.decoders.choice import DECODED, Decoder, decoder
from outrider_runtime.decoders.classification import softmax
from outrider_runtime.decoders.stored import dequantize

__all__ = ["DECODED", "Decoder", "decoder", "dequantize", "softmax"]

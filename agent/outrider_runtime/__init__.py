"""Tensors in, tensors out: runtimes, preprocessing, decoders and the golden proof, on host and device."""

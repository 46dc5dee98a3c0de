"""The converter's bars, one file a claim. `python -m proofs.converter` measures all and writes the proof."""

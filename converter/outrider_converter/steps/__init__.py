"""The steps of a conversion, one file each; found by the entry-point group `outrider.steps`."""

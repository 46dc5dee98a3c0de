"""The loop's bars, measured: a closed loop, windows, safe states, an action that hangs, a shared source."""

"""Other people's detection loops beside ours, each over its own bare runtime."""

from proofs.agent.peers.overhead import rows

__all__ = ["rows"]

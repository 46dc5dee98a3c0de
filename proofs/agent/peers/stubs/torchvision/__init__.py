"""Stands in for torchvision, whose build on PyPI does not load beside a CPU build of torch.

Ultralytics calls `ops.nms` for each frame and nothing else of it. OpenCV's is native code as well and takes
30 us for 30 boxes, so that the peer does not pay for the stub.
"""

from torchvision import ops as ops

__version__ = "0.28.0"

"""Write the textures' test images as the demo asks for them."""

import json
import sys
from pathlib import Path

import cv2
import data

folder, count = Path(sys.argv[1]), int(sys.argv[3])
images, labels = data.split()["test"]
(folder / "images").mkdir(parents=True)
for number, image in enumerate(images[:count]):
    cv2.imwrite(str(folder / "images" / f"{number:05d}.png"), image)
names = {f"{number:05d}": data.LABELS[label] for number, label in enumerate(labels[:count])}
document = {"schema": 1, "name": "textures", "test_images": len(images), "labels": names}
(folder / "labels.json").write_text(json.dumps(document))

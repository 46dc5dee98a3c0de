"""Write test images as PNG files, in the order of the test set, and what they really are.

    python examples/fashion/export_images.py build/line --count 2000

The folder then holds `images/00000.png`, ... and `labels.json`:
`{"schema": 1, "name": .., "test_images": .., "labels": {"00000": "ankle-boot", ..}}`.
"""

import argparse
import json
import shutil
from pathlib import Path

import cv2
import data

NAME = "fashion-mnist"


def export(folder: Path, count: int) -> Path:
    """Write the first `count` test images into `folder/images`, replacing what lies there.

    Returns:
        The path of the labels.

    Raises:
        OSError: a file cannot be written.
    """
    images, labels = data.read_idx("t10k")
    pictures = folder / "images"
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    names: dict[str, str] = {}
    for index, (image, label) in enumerate(zip(images[:count], labels[:count], strict=True)):
        frame = f"{index:05d}"
        if not cv2.imwrite(str(pictures / f"{frame}.png"), image):
            raise OSError(f"{pictures / frame}.png cannot be written")
        names[frame] = data.LABELS[label]
    document = {"schema": 1, "name": NAME, "test_images": len(images), "labels": names}
    truth = folder / "labels.json"
    truth.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return truth


def main() -> None:
    """Parse the command line, export, and say where to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where to write images/ and labels.json")
    parser.add_argument("--count", type=int, default=2_000, help="how many of the 10,000 test images")
    args = parser.parse_args()
    try:
        truth = export(args.folder, args.count)
    except FileNotFoundError as error:
        parser.error(
            f"{error.filename} is not there. "
            "Install it: sudo apt-get install dataset-fashion-mnist, or set FASHION_MNIST to its folder"
        )
    print(f"{args.count} images in {args.folder / 'images'}, labels in {truth}")


if __name__ == "__main__":
    main()

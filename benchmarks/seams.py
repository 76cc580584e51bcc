"""Counts the objects that are lost, doubled or mistaken at the seams of tiles, in made scenes.

Digits lie on the edges and corners of tiles. The detector is made, too: it finds each object that a tile shows, its box
off by up to a pixel, takes half of the cut ones for another class, and finds a third a second time. So all that goes
wrong beyond that is the joining's.

    python -m benchmarks.seams
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from maekit.system.size import HeightWidth
from tests.detection.tiled.helpers import Detector, faults, found_in, scene

SIZE, TILE = HeightWidth(300, 340), 128


def measure(scenes: int, overlap: int, sides: tuple[int, int], *, exact: bool) -> tuple[int, list[str]]:
    """Returns the number of objects, and a line for each fault.

    Args:
        scenes: how many.
        overlap: of the tiles in pixels.
        sides: smallest and largest side of a digit.
        exact: whether the detector errs in nothing, and sees the smallest part.
    """
    objects, wrong = 0, []
    with TemporaryDirectory() as folder:
        for seed in range(scenes):
            made, draw = scene(seed, SIZE, TILE, overlap, sides), np.random.default_rng(seed)
            detector = Detector(0, 0, 1, draw) if exact else Detector(draw=draw)
            found = found_in(made, Path(folder), TILE, overlap, detector)
            wrong += [f"scene {seed}: {fault}" for fault in faults(made, found, classes=True)]
            objects += len(made.labels)
    return objects, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    args = parser.parse_args()
    cases = [(48, (16, 44), False), *((overlap, (30, 60), True) for overlap in (0, 3, 12, 24))]
    for overlap, sides, exact in cases:
        objects, wrong = measure(args.scenes, overlap, sides, exact=exact)
        print(f"overlap {overlap}, digits of {sides[0]} to {sides[1]} pixels: {objects} objects, {len(wrong)} faults")
        print("".join(f"    {line}\n" for line in wrong), end="", flush=True)


if __name__ == "__main__":
    main()

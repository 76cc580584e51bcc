"""`maekit cluster`: group images by their features, and draw the groups."""

import argparse
from pathlib import Path

from maekit.commands.shared.flags import add_moved_images_argument, check_moved_images
from maekit.commands.shared.output import refuse_results_among_images
from maekit.errors import UserError

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--features", type=Path, metavar="DIR", required=True, help="a folder that `maekit embed` wrote"
    )
    parser.add_argument("--clusters", type=int, required=True, metavar="K", help="how many groups to make")
    parser.add_argument("--seed", type=int, default=0, help="of the starts; the same one gives the same groups")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder of clusters.csv, a contact sheet for each cluster and overview.png; outside the images' folder",
    )
    add_moved_images_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Clusters; prints how well the clusters match the class folders, if there are any."""
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed: got {args.seed}, expected 0 to {2**32 - 1}")
    check_moved_images(args.images)
    from maekit.features.files.folder import read_features
    from maekit.features.neighbours.cluster_results import write_results
    from maekit.features.neighbours.clusters import find_clusters, mutual_information, purity

    folder = read_features(args.features)
    refuse_results_among_images(args.images or Path(folder.metadata["images"]), args.output)
    clusters = find_clusters(folder.unit(), args.clusters, args.seed)
    write_results(folder, clusters, args.output, args.images)
    found = int(clusters.assigned.max()) + 1
    fewer = f" (of {args.clusters} asked for: there are no more distinct images)" if found < args.clusters else ""
    print(f"{len(folder.files):,} images in {found} clusters{fewer} -> {args.output / 'clusters.csv'}, overview.png")
    if folder.labels is not None:
        labels = folder.labels.numpy()
        share = purity(clusters.assigned, labels)
        print(f"normalised mutual information {mutual_information(clusters.assigned, labels):.3f}, purity {share:.3f}")
    return 0

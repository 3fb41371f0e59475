"""FID statistics and precision-recall, against torch-fidelity.

    pip install torch-fidelity
    python benchmarks/evaluation_metrics.py --num-images 10000 --dim 2048

Both sides get the same two sets of float32 features and compute on the CPU,
without the network in front of them: FID from features to the distance;
improved precision and recall of as many real as generated images. The peer's
precision-recall is its default, and `save_cpu_ram`, in blocks of 1000.
"""

import argparse
import statistics

import _common
import numpy as np
from vector_quantizer import peak_memory


def make_features(num_images, dim):
    """Two sets that overlap, of features that fade, as a network's do."""
    generator = np.random.default_rng(0)
    scale = 1 / np.sqrt(1 + np.arange(dim))
    mix = generator.normal(size=(dim, dim)).astype("float32") / np.sqrt(dim)
    sets = []
    for shift in (0, 0.3):
        x = generator.standard_normal((num_images, dim), "float32")
        sets.append(np.maximum((x * scale + shift * scale) @ mix, 0))
    return [x.astype("float32") for x in sets]


def our_tasks(threads, metric, num_images, dim):
    _common.limit_threads("tensorflow", threads)
    from keras_vqvae2.evaluation import FeatureStatistics
    from keras_vqvae2.evaluation import frechet_distance
    from keras_vqvae2.evaluation import precision_recall

    real, generated = make_features(num_images, dim)

    def fid():
        sets = []
        for features in (real, generated):
            statistics = FeatureStatistics()
            # As they come: in batches.
            for start in range(0, num_images, 1000):
                statistics.update(features[start : start + 1000])
            sets.append(statistics)
        return frechet_distance(*sets)

    def precision_and_recall():
        return sum(precision_recall(real, generated))

    return {"step": fid if metric == "fid" else precision_and_recall}


def peer_tasks(threads, metric, num_images, dim):
    _common.limit_threads("torch", threads)
    import torch
    from torch_fidelity import metric_fid
    from torch_fidelity import metric_prc

    real, generated = map(torch.from_numpy, make_features(num_images, dim))

    def fid():
        found = metric_fid.fid_statistics_to_metric(
            *map(metric_fid.fid_features_to_statistics, (real, generated)),
            False,
        )
        return found[metric_fid.KEY_METRIC_FID]

    def precision_and_recall():
        return sum(metric_prc.calculate_precision_recall_full(generated, real))

    def in_blocks():
        return sum(
            metric_prc.calculate_precision_recall_part(
                generated, real, batch_size=1000
            )
        )

    return {
        "step": {
            "fid": fid,
            "precision-recall": precision_and_recall,
            "precision-recall, blocks": in_blocks,
        }[metric]
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-images", type=int, default=10000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    _common.print_machine(args.threads)
    print(f"{args.num_images} x {args.num_images} images, {args.dim} features")
    rows = []
    for metric in ("fid", "precision-recall", "precision-recall, blocks"):
        options = {
            "threads": args.threads,
            "metric": metric,
            "num_images": args.num_images,
            "dim": args.dim,
        }
        contenders = {"ours": our_tasks, "peer": peer_tasks}
        memory = {
            name: peak_memory(make_tasks, steps=1, **options)
            for name, make_tasks in contenders.items()
        }
        processes = [
            _common.Contender(name, make_tasks, **options)
            for name, make_tasks in contenders.items()
        ]
        ours, peer = (x.run("step", result=True) for x in processes)
        seconds = _common.alternate(processes, "step", args.rounds, warmup=0)
        for process in processes:
            process.close()
        median, low, high = _common.ratios(seconds, "ours", "peer")
        rows.append(
            [metric]
            + [f"{statistics.median(s):.1f}" for s in seconds.values()]
            + [f"{median:.2f} ({low:.2f}-{high:.2f})"]
            + [f"{peak:.0f}" for peak in memory.values()]
            + [f"{abs(ours - peer) / abs(peer):.1e}"]
        )
        print(*rows[-1], sep=", ", flush=True)
    _common.print_table(
        [
            "metric",
            "ours, s",
            "peer, s",
            "times as fast",
            "ours, MiB",
            "peer, MiB",
            "relative difference",
        ],
        rows,
    )


if __name__ == "__main__":
    main()

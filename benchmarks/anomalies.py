"""How well `surprise` tells unusual images and defects: AUROC.

    python benchmarks/anomalies.py --model vqvae2-cifar10 --data PHOTOS \
        [--other FACES TEXTURES] [--number 128]

Images of `--data`, at the size that the priors are of, beside those of other
folders, rendered ones (digits, noise, smooth), and copies of themselves with a
planted defect: a patch of another image, a blob, a scratch. For each score the
probability that such an image has a higher one than an image of `--data`; for
defects also that a pixel inside has a higher value than one outside.

"restoration" is the score of arXiv 2012.06765 (without its weighting of the
variants): codes that need more bits than 98% of the usual images' are drawn
anew, and the score is how far the image is from what comes out.

"place by place" is for images that are alike in their layout, such as aligned
faces: bits and the logarithm of the reconstruction error, smoothed, in standard
deviations from their mean at that place in further images; the score is the
sum of both maps' maxima.
"""

import argparse

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont
from scipy.ndimage import gaussian_filter
from scipy.ndimage import uniform_filter
from scipy.stats import rankdata

import keras_vqvae2
from keras_vqvae2.data import list_images
from keras_vqvae2.data import load_image


def auroc(usual, unusual):
    """Probability that an unusual value is higher; half of it for ties."""
    ranks = rankdata(np.concatenate([usual, unusual]))
    n, m = len(usual), len(unusual)
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))


def load(folder, size, number, generator):
    """Images of a folder, the central square at this size."""
    paths = list_images(folder)
    images = []
    for i in generator.choice(len(paths), min(number, len(paths)), False):
        image = load_image(paths[i])
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        image = image[top : top + side, left : left + side]
        image = Image.fromarray(image).resize((size, size), Image.BICUBIC)
        images.append(np.asarray(image))
    return np.stack(images)


def smooth(size, number, generator):
    corners = generator.integers(0, 256, (number, 3, 3, 3), "uint8")
    images = [Image.fromarray(x).resize((size, size), 3) for x in corners]
    return np.stack(list(map(np.asarray, images)))


def digits(size, number, generator):
    images = []
    for _ in range(number):
        ground = generator.integers(0, 256, 3)
        ink = (ground + generator.integers(90, 166, 3)) % 256
        image = Image.new("RGB", (40, 40), tuple(map(int, ground)))
        ImageDraw.Draw(image).text(
            (int(generator.integers(0, 16)), int(generator.integers(-4, 8))),
            str(generator.integers(0, 100)),
            tuple(map(int, ink)),
            ImageFont.load_default(size=int(generator.integers(24, 34))),
        )
        pixels = np.asarray(image.resize((size, size), 3), "float32")
        pixels = pixels + generator.normal(0, 4, pixels.shape)
        images.append(np.uint8(np.clip(pixels, 0, 255)))
    return np.stack(images)


def planted(images, kind, generator):
    """Copies with a defect each, and bool masks of it."""
    number, size = images.shape[:2]
    copies, masks = images.copy(), np.zeros(images.shape[:3], bool)
    for i in range(number):
        unit = size / 32
        if kind == "cut-paste":
            side = generator.integers(8 * unit, 13 * unit)
            top, left, y, x = generator.integers(0, size - side, 4)
            masks[i, top : top + side, left : left + side] = True
            patch = images[i - 1, y : y + side, x : x + side]
            copies[i, top : top + side, left : left + side] = patch
            continue
        picture = Image.new("L", (size, size))
        draw = ImageDraw.Draw(picture)
        x, y = generator.integers(6 * unit, 26 * unit, 2)
        if kind == "blob":
            r = generator.integers(3 * unit, 6 * unit)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
        else:
            angle = generator.uniform(0, np.pi)
            dx, dy = (
                generator.integers(8, 14)
                * unit
                * np.array([np.cos(angle), np.sin(angle)])
            )
            line = (x - dx, y - dy, x + dx, y + dy)
            draw.line(line, fill=255, width=round(2 * unit))
        masks[i] = np.asarray(picture) > 0
        copies[i][masks[i]] = generator.integers(0, 256, 3)
    return copies, masks


def scores(model, images, thresholds, place_by_place):
    """Scores of images, and maps, by their names.

    Args:
        model: `VQVAE2` with priors.
        images: uint8 array `(N, height, width, 3)`.
        thresholds: Bits of a code of each level, above which it is drawn anew.
        place_by_place: `PlaceByPlace`.
    """
    surprise, error = surprise_and_error(model, images)
    peaks, relative = place_by_place(surprise, error)
    masks = [
        bits > threshold
        for bits, threshold in zip(surprise.maps, thresholds, strict=True)
    ]
    restored = model.inpaint(
        images,
        np.any(masks, axis=0),
        num_variants=2,
        num_candidates=1,
        batch_size=64,
    )
    restoration = abs(restored - images[:, None].astype("float32"))
    restoration = restoration.mean(axis=(1, 4))
    smoothing = (0, *[9 * images.shape[1] // 32] * 2)
    return (
        {
            "bits": surprise.scores,
            "excess": surprise.excess_scores,
            "reconstruction error": error.mean(axis=(1, 2)),
            "restoration": restoration.mean(axis=(1, 2)),
            "place by place": peaks,
        },
        {
            "bits, smoothed": uniform_filter(sum(surprise.maps), smoothing),
            "reconstruction error": error,
            "place by place": relative,
            "restoration, smoothed": uniform_filter(restoration, smoothing),
        },
    )


class PlaceByPlace:
    """Scores of images, and a map, relative to usual images.

    Args:
        surprise: `Surprise` of usual images.
        error: Reconstruction errors of their pixels.
    """

    def __init__(self, surprise, error):
        maps = self._smoothed(surprise, error)
        self.means = [x.mean(axis=0) for x in maps]
        self.deviations = [x.std(axis=0) for x in maps]

    def __call__(self, surprise, error):
        maps = [
            (x - mean) / deviation
            for x, mean, deviation in zip(
                self._smoothed(surprise, error),
                self.means,
                self.deviations,
                strict=True,
            )
        ]
        return sum(x.max(axis=(1, 2)) for x in maps), sum(maps)

    def _smoothed(self, surprise, error):
        unit = error.shape[1] / 64
        # A code covers several pixels; 4 squared grey levels are nothing.
        return (
            gaussian_filter(sum(surprise.maps), (0, 4 * unit, 4 * unit)),
            gaussian_filter(np.log(error + 4), (0, 2 * unit, 2 * unit)),
        )


def surprise_and_error(model, images):
    decoded = model.reconstruct(images).astype("float32")
    error = ((decoded - images) ** 2).mean(axis=-1)
    return model.surprise(images), error


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--other", nargs="*", default=[])
    parser.add_argument("--number", type=int, default=128)
    args = parser.parse_args()
    generator = np.random.default_rng(0)
    model = keras_vqvae2.from_pretrained(args.model).keep_priors()
    shape = model.load_prior(model.vqvae.level_names[0]).code_shapes[-1]
    size, number = shape[0] * model.vqvae.total_stride, args.number
    images = load(args.data, size, 3 * number, generator)
    usual, held, typical_images = images[::3], images[1::3], images[2::3]
    sets = {"other images of --data": held}
    for folder in args.other:
        sets[folder] = load(folder, size, number, generator)
    sets["digits"] = digits(size, number, generator)
    sets["noise"] = generator.integers(0, 256, (number, size, size, 3), "uint8")
    sets["smooth"] = smooth(size, number, generator)
    masks = {}
    for kind in ("cut-paste", "blob", "scratch"):
        # Of other images than the usual ones: the two samples are independent.
        sets[kind], masks[kind] = planted(held, kind, generator)
    # From images of their own: `usual` is as new as what it is compared with.
    typical_surprise, typical_error = surprise_and_error(model, typical_images)
    how = (
        [np.quantile(bits, 0.98) for bits in typical_surprise.maps],
        PlaceByPlace(typical_surprise, typical_error),
    )
    expected, expected_maps = scores(model, usual, *how)
    typical = np.median(typical_surprise.excess_scores)
    names = [*expected, "distance of excess"]
    expected["distance of excess"] = abs(expected["excess"] - typical)
    columns = [*names, *(f"pixels: {name}" for name in expected_maps)]
    print("| images |", " | ".join(columns), "|")
    print("|---" * (len(columns) + 1) + "|", flush=True)
    for name, images in sets.items():
        found, maps = scores(model, images, *how)
        found["distance of excess"] = abs(found["excess"] - typical)
        cells = [f"{auroc(expected[key], found[key]):.3f}" for key in names]
        mask = masks.get(name)
        cells += [
            "" if mask is None else f"{auroc(x[~mask], x[mask]):.3f}"
            for x in maps.values()
        ]
        print(f"| {name} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()

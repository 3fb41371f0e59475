"""How many samples a face detector finds a face in; the nearest real faces.

    pip install "opencv-python-headless<5"
    python benchmarks/faces.py --model vqvae2-faces64 --train FACES/train \
        --test FACES/val [--temperatures 1 0.9 0.8] [--number 500]
        [--output faces.png]

The detector is OpenCV's frontal Haar cascade. Test faces, at the model's size
and as their own codes decoded, are what the samples' share is to be compared
with; test faces whose tiles of 8x8 pixels are shuffled show how often it finds
one where there is none.

`--output` gets ten samples of the best temperature, under each the training
face that is nearest to it (by pixels, mirrored or not), and the least distance
is printed beside that of test faces.
"""

import argparse

import cv2
import numpy as np
from PIL import Image

import keras_vqvae2
from keras_vqvae2.data import list_images
from keras_vqvae2.data import load_image
from keras_vqvae2.visualization import image_grid
from keras_vqvae2.visualization import save_image


def load(folder, size, number=None):
    """Images of a folder, at this size."""
    return np.stack(
        [
            Image.fromarray(load_image(path)).resize((size, size), 1)
            for path in list_images(folder)[:number]
        ]
    )


def detected(detector, images):
    """Whether the detector finds a face in each image."""
    found = []
    for image in images:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        # Its window is 24 pixels: at 64, few scales would be left.
        grey = cv2.resize(grey, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
        faces = detector.detectMultiScale(
            grey, scaleFactor=1.05, minNeighbors=4, minSize=(60, 60)
        )
        found.append(len(faces) > 0)
    return np.array(found)


def shuffled(images, tile=8):
    """Images with their tiles in a random order, each in its own."""
    n, size = images.shape[:2]
    side = size // tile
    tiles = images.reshape(n, side, tile, side, tile, 3).swapaxes(2, 3)
    tiles = tiles.reshape(n, side * side, tile, tile, 3)
    tiles = np.stack(
        [np.random.default_rng(i).permutation(x) for i, x in enumerate(tiles)]
    )
    tiles = tiles.reshape(n, side, side, tile, tile, 3).swapaxes(2, 3)
    return tiles.reshape(images.shape)


def nearest(images, train):
    """Index of the nearest training image, and its root mean square distance.

    Images are compared at half their size, where noise counts less.
    """

    def small(x):
        n, height, width, channels = x.shape
        x = x.reshape(n, height // 2, 2, width // 2, 2, channels)
        return x.mean(axis=(2, 4), dtype="float32").reshape(n, -1)

    images = small(images)
    squares = (images**2).sum(axis=1)[:, None]
    distances = []
    for part in (train, train[:, :, ::-1]):
        part = small(part)
        distances.append(squares - 2 * images @ part.T + (part**2).sum(axis=1))
    distances = np.minimum(*distances)
    index = distances.argmin(axis=1)
    square = np.take_along_axis(distances, index[:, None], 1)[:, 0]
    return index, np.sqrt(square.clip(min=0) / images.shape[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="vqvae2-faces64")
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument(
        "--temperatures", type=float, nargs="+", default=[1.0, 0.9, 0.8]
    )
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--output")
    args = parser.parse_args()
    model = keras_vqvae2.from_pretrained(args.model).keep_priors()
    prior = model.load_prior(model.vqvae.level_names[-1])
    size = prior.code_shapes[-1][0] * model.vqvae.strides[0]
    detector = cv2.CascadeClassifier(
        cv2.data.haarcascades + "haarcascade_frontalface_default.xml"
    )
    test = load(args.test, size, args.number)
    usual = detected(detector, test).mean()
    print(f"test faces: {usual:.3f}")
    tiles = detected(detector, shuffled(test)).mean()
    print(f"test faces, tiles shuffled: {tiles:.3f}")
    decoded = model.reconstruct(test)
    print(
        f"test faces, reconstructed: {detected(detector, decoded).mean():.3f}"
    )
    best, chosen = -1.0, None
    for temperature in args.temperatures:
        samples = model.generate(
            args.number, temperature=temperature, batch_size=50
        )
        share = detected(detector, samples).mean()
        print(
            f"temperature {temperature}: {share:.3f}, {share / usual:.2f} of "
            "the test faces' share",
            flush=True,
        )
        if share > best:
            best, chosen = share, samples
    train = load(args.train, size)
    index, distances = nearest(chosen, train)
    _, usual_distances = nearest(test, train)
    print(
        "distance of the nearest training face, in grey levels: samples "
        f"{distances.min():.1f} and more, median {np.median(distances):.1f}; "
        f"test faces {usual_distances.min():.1f} and more, median "
        f"{np.median(usual_distances):.1f}"
    )
    if args.output:
        # The ones nearest to a training face: if any is a copy, these are.
        picked = np.argsort(distances)[:10]
        save_image(
            args.output, image_grid([chosen[picked], train[index[picked]]])
        )


if __name__ == "__main__":
    main()

import numpy as np

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.codec import write_codes
from keras_vqvae2.images import psnr

tf = LazyModule("tensorflow")

_SSIM_SIZE = 11
# Writing a file takes longer than all else that is measured of an image.
_MAX_FILES = 256


def code_usage(codes, num_embeddings):
    """How a level uses its codebook.

    Args:
        codes: Integer array of codes, of any shape.
        num_embeddings: Number of codebook entries.

    Returns:
        Dict of the share of entries that are used (`codes_used`), the
        `perplexity` and the entropy of their histogram (`entropy_bits`).

    Raises:
        ValueError: If there are no codes, or they are out of range.
    """
    codes = np.asarray(codes)
    if not codes.size or codes.min() < 0 or codes.max() >= num_embeddings:
        raise ValueError(
            f"Codes must be in 0..{num_embeddings - 1}. Received: "
            + (f"{codes.min()}..{codes.max()}" if codes.size else "none")
        )
    return _usage(np.bincount(codes.ravel(), minlength=num_embeddings))


def _usage(counts):
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * np.log2(shares)).sum()
    return {
        "codes_used": float((counts > 0).mean()),
        "perplexity": float(2**entropy),
        "entropy_bits": float(entropy),
    }


def ssim(images, reconstructions):
    """Structural similarity of each image, by `tf.image.ssim`.

    Args:
        images: Array `(batch, height, width, channels)`, pixels 0..255, at
            least 11x11.
        reconstructions: Array of the same shape.

    Returns:
        float64 array `(batch,)`, at most 1.

    Raises:
        ValueError: If the shapes differ, or the images are too small.

    Source: Wang et al., "Image quality assessment: from error visibility to
    structural similarity", 2004, with its window of 11x11.
    """
    images, reconstructions = np.asarray(images), np.asarray(reconstructions)
    if images.shape != reconstructions.shape:
        raise ValueError(
            "Images and reconstructions must have the same shape. Received "
            f"{images.shape} and {reconstructions.shape}."
        )
    if min(images.shape[1:3]) < _SSIM_SIZE:
        raise ValueError(
            f"SSIM needs images of {_SSIM_SIZE}x{_SSIM_SIZE} pixels or more. "
            f"Received shape {images.shape}."
        )
    # TensorFlow would divide integers by their dtype's largest value.
    images, reconstructions = np.float32(images), np.float32(reconstructions)
    with tf.device("CPU"):
        return tf.image.ssim(images, reconstructions, 255).numpy().astype(float)


class ReconstructionMetrics:
    """Metrics of a model's reconstructions, batch by batch.

    Args:
        model: `VQVAE2`.
        batch_size: Images at a time.
        rate_weight: As for `VQVAE2.encode`.
        search_steps: As for `VQVAE2.encode`.

    Example:

    ```python
    model = keras_vqvae2.from_pretrained("vqvae2-imagenet256")
    metrics = keras_vqvae2.evaluation.ReconstructionMetrics(model)
    images = np.random.randint(0, 256, (2, 64, 64, 3), "uint8")
    codes, reconstructions = metrics.update(images)
    assert metrics.result()["images"] == 2
    ```
    """

    def __init__(self, model, batch_size=8, rate_weight=0.0, search_steps=0):
        self.model = model
        self.batch_size = batch_size
        self.rate_weight = rate_weight
        self.search_steps = search_steps
        vqvae = model.vqvae
        self._scores = [[] for _ in range(vqvae.num_levels)]
        self._counts = np.zeros((vqvae.num_levels, vqvae.num_embeddings), int)
        self._file_sizes = []
        self._size = None

    def update(self, images):
        """Encodes and decodes images and updates the metrics.

        Args:
            images: uint8 array `(batch, height, width, channels)`; height and
                width are the same in each batch, and multiples of the model's
                total stride.

        Returns:
            Tuple of the codes, as of `VQVAE2.encode`, and the reconstructions
            from all of them, uint8.

        Raises:
            ValueError: If the size differs from earlier batches, or does not
                fit.
        """
        size = images.shape[1:3]
        if self._size not in (None, size):
            raise ValueError(
                "All images must have one size. Received "
                f"{size[0]}x{size[1]} after {self._size[0]}x{self._size[1]}."
            )
        codes = self.model.encode(
            images, self.batch_size, self.rate_weight, self.search_steps
        )
        self._size = size
        for level, scores in enumerate(self._scores):
            self._counts[level] += np.bincount(
                codes[level].ravel(), minlength=self._counts.shape[1]
            )
            decoded = self.model.decode(codes, level + 1, self.batch_size)
            errors = (images.astype("float64") - decoded) / 127.5
            row = [
                np.mean(errors**2, axis=(1, 2, 3)),
                psnr(images, decoded),
            ]
            if min(size) >= _SSIM_SIZE:
                row.append(ssim(images, decoded))
            scores.append(row)
        self._write_files(codes)
        return codes, decoded

    def _write_files(self, codes):
        wanted = _MAX_FILES - len(self._file_sizes)
        if not wanted:
            return
        code_model = self.model.code_model()
        for maps in zip(*(level[:wanted] for level in codes), strict=True):
            data = write_codes(maps, self._size, code_model)
            self._file_sizes.append(len(data))

    def result(self):
        """Metrics of all images so far.

        Returns:
            Dict of `images`; `size`; `bits_per_pixel`, raw codes, and
            `bits_per_pixel_entropy`, codes at the entropy of each level's
            histogram, and `bits_per_pixel_files`, whole code files, on average
            over the first 256 images; for each n, under `levels=n`, what the
            first n levels hold (figure 3 of the paper): `mse` in units of
            images scaled to [-1, 1], `psnr_mean`, `psnr_min`, `psnr_max` in
            dB over images, `ssim_mean` if the images are large enough; for
            each level, by its name, `code_usage`.

        Raises:
            ValueError: If there were no images.
        """
        if self._size is None:
            raise ValueError("There were no images: call `update` first.")
        vqvae, size = self.model.vqvae, self._size
        shapes = vqvae.code_shapes(*size)
        usages = [_usage(counts) for counts in self._counts]
        bits = sum(
            usage["entropy_bits"] * np.prod(shape)
            for usage, shape in zip(usages, shapes, strict=True)
        )
        metrics = {
            "images": sum(len(row[0]) for row in self._scores[0]),
            "size": list(size),
            "bits_per_pixel": self.model.bits_per_pixel(*size),
            "bits_per_pixel_entropy": float(bits / np.prod(size)),
            "bits_per_pixel_files": float(
                8 * np.mean(self._file_sizes) / np.prod(size)
            ),
        }
        for level, rows in enumerate(self._scores):
            mse, scores, *similarity = map(
                np.concatenate, zip(*rows, strict=True)
            )
            row = metrics[f"levels={level + 1}"] = {
                "mse": float(mse.mean()),
                "psnr_mean": float(scores.mean()),
                "psnr_min": float(scores.min()),
                "psnr_max": float(scores.max()),
            }
            if similarity:
                row["ssim_mean"] = float(similarity[0].mean())
        return metrics | dict(zip(vqvae.level_names, usages, strict=True))

import keras
import numpy as np


class CodeWindows(keras.utils.PyDataset):
    """Random codes of a data set, each with the codes that its context shows.

    A batch is a pair `(inputs, codes)`: `inputs` as `ContextNetwork` takes
    them, and the codes `(batch, places)`. It depends only on the seed and its
    number.

    Args:
        codes: Integer array `(images, height, width)`.
        coarser: Array of the next coarser maps, or None.
        neighbors: Offsets `(rows, columns)` of the neighbours.
        coarse: Offsets in the coarser map.
        outside: What codes outside of an image count as.
        batch_size: Codes in a batch, roughly.
        num_batches: Number of batches.
        seed: Integer.

    Example:

    ```python
    windows = keras_vqvae2.data.CodeWindows(
        np.arange(12).reshape(1, 3, 4),
        None,
        neighbors=((-1, 0), (0, -1)),
        coarse=(),
        outside=99,
        batch_size=5,
        num_batches=10,
        seed=0,
    )
    inputs, codes = windows[0]
    assert inputs["neighbors"].shape == (5, 1, 2) and codes.shape == (5, 1)
    ```
    """

    def __init__(
        self,
        codes,
        coarser,
        *,
        neighbors,
        coarse,
        outside,
        batch_size,
        num_batches,
        seed,
    ):
        super().__init__()
        self.codes = codes
        self._length = num_batches
        self.seed = seed
        self.neighbors = _Window(codes, neighbors, outside)
        self.coarse = None
        self.ratio = 1
        if coarser is not None:
            self.ratio = codes.shape[1] // coarser.shape[1]
            self.coarse = _Window(coarser, coarse, outside)
        self.num_squares = max(1, batch_size // self.ratio**2)

    def __len__(self):
        return self._length

    def __getitem__(self, index):
        rng = np.random.default_rng((self.seed, index))
        images, height, width = self.codes.shape
        sizes = images, height // self.ratio, width // self.ratio
        return self.at(
            *(rng.integers(0, size, self.num_squares) for size in sizes)
        )

    def at(self, images, rows, columns):
        """The batch of the codes below these codes of the coarser map.

        Args:
            images: Integer array `(batch,)`, numbers of images.
            rows: Integer array `(batch,)`.
            columns: Integer array `(batch,)`.
        """
        inner_rows, inner_columns = np.indices((self.ratio,) * 2).reshape(2, -1)
        places = (
            images[:, None],
            rows[:, None] * self.ratio + inner_rows,
            columns[:, None] * self.ratio + inner_columns,
        )
        inputs = {"neighbors": self.neighbors.at(*places)}
        if self.coarse is not None:
            inputs["coarse"] = self.coarse.at(images, rows, columns)
        return inputs, self.codes[places].astype("int32")


class _Window:
    """Codes at fixed offsets from any place."""

    def __init__(self, codes, offsets, outside):
        margin = max(abs(side) for offset in offsets for side in offset)
        pads = ((0, 0), (margin, margin), (margin, margin))
        dtype = "uint16" if outside < 2**16 else "int32"
        padded = np.pad(codes.astype(dtype), pads, constant_values=outside)
        self.flat = padded.reshape(-1)
        self.shape = padded.shape
        self.margin = margin
        width = padded.shape[2]
        self.steps = np.array([dy * width + dx for dy, dx in offsets])

    def at(self, images, rows, columns):
        _, height, width = self.shape
        places = (images * height + rows + self.margin) * width
        places += columns + self.margin
        return self.flat[places[..., None] + self.steps].astype("int32")

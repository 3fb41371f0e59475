"""A data set's images to code shards: the first half of algorithm 2."""

import keras

from keras_vqvae2.data import image_dataset
from keras_vqvae2.data import write_code_shards
from keras_vqvae2.data.image_dataset import describe_data
from keras_vqvae2.data.image_dataset import label_names
from keras_vqvae2.files import check_writable
from keras_vqvae2.models._inputs import check_image_size
from keras_vqvae2.recipes._codes import weights_digest


def extract_codes(
    model,
    data,
    output,
    *,
    image_size=None,
    split="train",
    labels=False,
    resize=None,
    mirrored=False,
    batch_size=16,
    shard_size=4096,
    data_dir=None,
    download=False,
    verbose=False,
):
    """Writes the codes of all images of a data set, in one pass.

    Images are center-cropped. A killed run resumes after its last whole
    shard, if model, data and arguments are those of the shards.

    Args:
        model: `VQVAE2`.
        data: Folder of images, or `tfds:<name>`.
        output: Folder for the shards, see `write_code_shards`.
        image_size: Height and width of the images; None takes that of the
            images which the model was trained on, or 256.
        split: Split of a TFDS data set.
        labels: Whether to keep class labels: those of the class folders in
            `data`, or the TFDS data set's own.
        resize: Length to which the shorter side of images is resized before
            cropping, or None.
        mirrored: Whether to add each image flipped horizontally.
        batch_size: Images at a time.
        shard_size: Images in a shard.
        data_dir: As for `tfds_dataset`, for TFDS data sets.
        download: As for `tfds_dataset`, for TFDS data sets.
        verbose: Whether to show a progress bar.

    Returns:
        Number of images in the shards.

    Raises:
        FileExistsError: If `output` has a complete set of codes already, or
            shards of another model, other data or other arguments.
        OSError: If `output` is not a folder, or cannot be written to.
        ValueError: If there are no images, or an argument does not fit.
    """
    check_writable(output, folder=True)
    if image_size is None:
        image_size = model.image_size or 256
    check_image_size(image_size, model.vqvae)
    # All that the codes and their order depend on.
    source = {
        "weights": weights_digest(model),
        "dtype": model.vqvae.compute_dtype,
        **describe_data(data, split),
        "image_size": image_size,
        "resize": resize,
        "labels": bool(labels),
        "mirrored": bool(mirrored),
    }
    if labels:
        source["label_names"] = label_names(data, data_dir)
    if mirrored:  # a batch of images is followed by the same batch mirrored
        source["batch_size"] = batch_size

    def batches(skipped):
        dataset = image_dataset(
            data,
            image_size,
            batch_size,
            split=split,
            training=False,
            resize=resize,
            labels=labels,
            data_dir=data_dir,
            download=download,
        )
        step = batch_size * (1 + mirrored)
        done = skipped // step * step
        progress = keras.utils.Progbar(
            None, verbose=int(verbose), unit_name="image"
        )
        for batch in dataset.skip(skipped // step):
            images, image_labels = batch if labels else (batch, None)
            views = [images.numpy()]
            if mirrored:
                views.append(views[0][:, :, ::-1])
            for view in views:
                codes = model.encode(view, batch_size)
                start = max(skipped - done, 0)
                done += len(view)
                if start < len(view):
                    yield (
                        tuple(level[start:] for level in codes),
                        None if not labels else image_labels.numpy()[start:],
                    )
            progress.update(done)
        progress.update(done, finalize=True)

    return write_code_shards(
        batches,
        output,
        num_embeddings=model.vqvae.num_embeddings,
        level_names=model.vqvae.level_names,
        shard_size=shard_size,
        source=source,
    )

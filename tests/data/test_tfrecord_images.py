import numpy as np
import pytest
import tensorflow as tf

from keras_vqvae2.data import tfrecord_dataset

SIDE = 16


def write(path, images):
    """A file as NVlabs' dataset tools write it."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in images:
            pixels = np.moveaxis(image, -1, 0)
            features = {
                "shape": tf.train.Feature(
                    int64_list=tf.train.Int64List(value=pixels.shape)
                ),
                "data": tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[pixels.tobytes()])
                ),
            }
            example = tf.train.Example(
                features=tf.train.Features(feature=features)
            )
            writer.write(example.SerializeToString())
    return path


def pictures(number=7):
    images = np.random.default_rng(0).integers(
        0, 256, (number, SIDE, SIDE, 3), dtype="uint8"
    )
    images[:, 0, 0] = np.arange(number)[:, None]  # Tells which it is.
    return images


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "ffhq-r04.tfrecords", pictures())


def values(dataset, batches):
    images = [batch.numpy() for batch in dataset.take(batches)]
    return np.concatenate(images)[:, 0, 0, 0]


def test_validation_is_every_image_in_order(file):
    dataset = tfrecord_dataset(file, SIDE, 3, training=False)
    images = np.concatenate([batch.numpy() for batch in dataset])
    np.testing.assert_array_equal(images, pictures())


def test_each_epoch_sees_every_image_once(file):
    dataset = tfrecord_dataset(file, SIDE, 7, flip=False)
    epochs = [values(dataset.skip(i), 1) for i in range(3)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(7))
    assert (epochs[0] != epochs[1]).any()


def test_start_step(file):
    whole = values(tfrecord_dataset(file, SIDE, 4, flip=False), 5)
    later = values(tfrecord_dataset(file, SIDE, 4, flip=False, start_step=3), 2)
    np.testing.assert_array_equal(later, whole[12:])


def test_workers_share_the_stream(file):
    whole = values(tfrecord_dataset(file, SIDE, 4, flip=False), 7)
    parts = [
        values(
            tfrecord_dataset(file, SIDE, 4, flip=False, shard=(i, 2)), 7
        ).reshape(7, 2)
        for i in range(2)
    ]
    np.testing.assert_array_equal(np.stack(parts, -1).ravel(), whole)


def test_several_files(file, tmp_path):
    other = write(tmp_path / "more.tfrecords", pictures(9)[7:])
    dataset = tfrecord_dataset([file, other], SIDE, 9, training=False)
    (images,) = dataset
    np.testing.assert_array_equal(images, pictures(9))


def test_bad_files(file, tmp_path):
    with pytest.raises(ValueError, match="There is no file .*absent"):
        tfrecord_dataset(tmp_path / "absent.tfrecords", SIDE, 1)
    cut = tmp_path / "cut.tfrecords"
    cut.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match="cut short .* record 6"):
        tfrecord_dataset(cut, SIDE, 1)
    cut.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        tfrecord_dataset(cut, SIDE, 1)
    with tf.io.TFRecordWriter(str(cut)) as writer:
        writer.write(tf.train.Example().SerializeToString() or b"\x00")
    with pytest.raises(ValueError, match="has no records of RGB images"):
        tfrecord_dataset(cut, SIDE, 1)

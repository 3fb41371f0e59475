import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from keras_vqvae2.data import tfds_dataset

COUNT = 11
BAD = 4


def encoded(value):
    """A grey picture whose corner tells which it is."""
    pixels = np.random.default_rng(value).integers(0, 256, (9, 10, 3), "uint8")
    pixels[:, :, 0] = value
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """Pictures 0 to 10; the split "damaged" has picture 4 cut short."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(num_classes=3),
                    "caption": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(None),
            "damaged": self._generate_examples(BAD),
        }

    def _generate_examples(self, bad):
        for value in range(COUNT):
            contents = encoded(value)
            if value == bad:
                contents = contents[:-50]
            yield (
                value,
                {
                    "image": io.BytesIO(contents),
                    "label": value % 3,
                    "caption": "a picture",
                },
            )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfds")
    tfds.builder("tiny_pictures", data_dir=path).download_and_prepare()
    return path


@pytest.fixture
def tiny(data_dir):
    def make(batch_size, **options):
        return tfds_dataset(
            "tiny_pictures", 8, batch_size, data_dir=data_dir, **options
        )

    return make


def batches(dataset, count):
    return np.stack([batch.numpy() for batch in dataset.take(count)])


def values(images):
    return images[..., 0, 0, 0]


# TFDS's own mock data


def test_mock_data_training():
    with tfds.testing.mock_data(num_examples=5):
        dataset = tfds_dataset("cifar10", 24, 4, labels=True)
    assert dataset.element_spec == (
        tf.TensorSpec((4, 24, 24, 3), "uint8"),
        tf.TensorSpec((4,), "int32"),
    )
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    for images, labels in dataset.take(3):
        assert images.numpy().std() > 0
        assert ((labels >= 0) & (labels < 10)).numpy().all()


def test_mock_data_validation_equals_tfds():
    with tfds.testing.mock_data(num_examples=5):
        dataset = tfds_dataset(
            "cifar10", 32, 3, split="test", training=False, labels=True
        )
        wanted = tfds.decode.PartialDecoding({"image": True, "label": True}, {})
        expected = tfds.load("cifar10", split="test", decoders=wanted).batch(5)
    images, labels = map(np.concatenate, zip(*dataset, strict=True))
    (expected,) = expected
    np.testing.assert_array_equal(images, expected["image"])
    np.testing.assert_array_equal(labels, expected["label"])


def test_mock_data_grey_becomes_rgb():
    with tfds.testing.mock_data(num_examples=3):
        dataset = tfds_dataset("mnist", 28, 3, training=False)
    (images,) = dataset
    assert images.shape == (3, 28, 28, 3)
    images = images.numpy()
    np.testing.assert_array_equal(images[..., 0], images[..., 1])
    assert images.std() > 0


def test_features_that_do_not_fit():
    with tfds.testing.mock_data(num_examples=3):
        with pytest.raises(ValueError, match=r"(?s)\"image\".*'description'"):
            tfds_dataset("ag_news_subset", 8, 1)
        with pytest.raises(ValueError, match=r"(?s)\"label\".*labels=False"):
            tfds_dataset("coco", 8, 1, labels=True)


# A data set on disk


def test_an_epoch_sees_every_image_once(tiny):
    epochs = values(batches(tiny(COUNT, seed=3), 3))
    np.testing.assert_array_equal(np.sort(epochs), [range(COUNT)] * 3)
    assert (epochs[0] != epochs[1]).any()


def test_training_goes_on_from_any_step(tiny):
    whole = batches(tiny(4, seed=1), 8)
    for step in (2, 7):
        rest = batches(tiny(4, seed=1, start_step=step), 8 - step)
        np.testing.assert_array_equal(rest, whole[step:])


def test_training_depends_on_the_seed_alone(tiny):
    one = batches(tiny(4, seed=1), 4)
    tf.random.set_seed(99)
    np.testing.assert_array_equal(batches(tiny(4, seed=1), 4), one)
    assert (batches(tiny(4, seed=2), 4) != one).any()
    # The module's seeding must not reach the caller's own random numbers.
    tf.random.set_seed(99)
    expected = tf.random.uniform((3,)).numpy()
    tf.random.set_seed(99)
    tiny(4)
    np.testing.assert_array_equal(tf.random.uniform((3,)), expected)


@pytest.mark.parametrize("training", [True, False])
def test_shards_make_up_the_stream(tiny, training):
    options = {"training": training, "drop_remainder": True}
    whole = batches(tiny(4, **options), 2)
    for index in range(2):
        part = batches(tiny(4, shard=(index, 2), **options), 2)
        np.testing.assert_array_equal(part, whole[:, index::2])


def test_validation(tiny):
    pairs = list(tiny(4, training=False, labels=True))
    assert [len(images) for images, _ in pairs] == [4, 4, 3]
    seen = values(np.concatenate([images for images, _ in pairs]))
    labels = np.concatenate([labels for _, labels in pairs])
    np.testing.assert_array_equal(np.sort(seen), range(COUNT))
    np.testing.assert_array_equal(labels, seen % 3)
    assert len(list(tiny(4, training=False, drop_remainder=True))) == 2
    assert len(list(tiny(9, split="train[:5]", training=False))) == 1


def test_a_damaged_example_in_validation(tiny):
    dataset = tiny(COUNT, split="damaged", training=False)
    with pytest.warns(UserWarning, match="tiny_pictures-damaged.tfrecord"):
        (images,) = dataset
    assert sorted(values(images.numpy())) == [
        value for value in range(COUNT) if value != BAD
    ]


def test_a_damaged_example_in_training(tiny):
    options = {"split": "damaged", "labels": True, "flip": False}
    with pytest.warns(UserWarning, match="damaged.tfrecord.* truncated"):
        whole = list(tiny(COUNT, **options).take(2).as_numpy_iterator())
        (rest,) = tiny(COUNT, **options, start_step=1).take(1)
    for images, labels in whole:
        seen = values(images)
        assert set(seen) == set(range(COUNT)) - {BAD}
        np.testing.assert_array_equal(labels, seen % 3)
    np.testing.assert_array_equal(rest[0], whole[1][0])


def test_a_training_batch_without_any_image(tiny):
    dataset = tiny(1, split="damaged")
    with pytest.warns(UserWarning, match="damaged.tfrecord"):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="No image in a whole batch"
        ):
            batches(dataset, COUNT)


# Errors


def test_names_that_tfds_does_not_know(tiny):
    with pytest.raises(ValueError, match="no data set 'nonsuch'"):
        tfds_dataset("nonsuch", 8, 1)
    with pytest.raises(ValueError, match="(?s)tiny_pictures.*9.9.9"):
        tfds_dataset("tiny_pictures:9.9.9", 8, 1)
    with pytest.raises(ValueError, match="(?s)split 'test'.*damaged"):
        tiny(1, split="test")


def test_data_is_not_downloaded_unasked(tmp_path):
    with pytest.raises(ValueError, match="Pass `download=True`"):
        tfds_dataset("tiny_pictures", 8, 1, data_dir=tmp_path)
    assert not list(tmp_path.rglob("*.tfrecord*"))
    dataset = tfds_dataset(
        "tiny_pictures", 8, 1, data_dir=tmp_path, download=True
    )
    assert batches(dataset, 1).shape == (1, 1, 8, 8, 3)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"image_size": -1}, "`image_size` must be a positive integer"),
        ({"shuffle_buffer": 0}, "`shuffle_buffer` must be a positive integer"),
        ({"labels": ["a"]}, "`labels` must be True or False"),
        ({"split": "train[:0]"}, "split .*no data"),
        (
            {"training": False, "drop_remainder": True, "batch_size": 12},
            "leaves nothing of the 11 images",
        ),
    ],
)
def test_argument_errors(data_dir, arguments, message):
    arguments = {"image_size": 8, "batch_size": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        tfds_dataset("tiny_pictures", data_dir=data_dir, **arguments)

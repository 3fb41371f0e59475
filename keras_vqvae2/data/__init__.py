"""Image pipelines: folders of image files, TFDS data sets, TFRecords; codes.

TensorFlow is imported when a dataset is made: reading a single image needs
Pillow alone.
"""

from keras_vqvae2.data.code_dataset import code_dataset
from keras_vqvae2.data.code_shards import read_code_shards
from keras_vqvae2.data.code_shards import write_code_shards
from keras_vqvae2.data.code_windows import CodeWindows
from keras_vqvae2.data.image_dataset import image_dataset
from keras_vqvae2.data.image_file import load_image
from keras_vqvae2.data.image_folder import class_names
from keras_vqvae2.data.image_folder import image_folder_dataset
from keras_vqvae2.data.image_folder import list_images
from keras_vqvae2.data.packed_images import pack_images
from keras_vqvae2.data.packed_images import packed_batches
from keras_vqvae2.data.tfds_images import tfds_dataset
from keras_vqvae2.data.tfrecord_images import tfrecord_dataset

__all__ = [
    "CodeWindows",
    "class_names",
    "code_dataset",
    "image_dataset",
    "image_folder_dataset",
    "list_images",
    "load_image",
    "pack_images",
    "packed_batches",
    "read_code_shards",
    "tfds_dataset",
    "tfrecord_dataset",
    "write_code_shards",
]

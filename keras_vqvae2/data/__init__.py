"""Image pipelines: folders of image files, and TFDS data sets by name.

TensorFlow is imported when a data set is made, not before: reading a single
image needs Pillow alone.
"""

from keras_vqvae2.data.code_shards import code_dataset as code_dataset
from keras_vqvae2.data.code_shards import read_code_shards as read_code_shards
from keras_vqvae2.data.code_shards import write_code_shards as write_code_shards
from keras_vqvae2.data.image_dataset import image_dataset as image_dataset
from keras_vqvae2.data.image_file import load_image as load_image
from keras_vqvae2.data.image_folder import class_names as class_names
from keras_vqvae2.data.image_folder import (
    image_folder_dataset as image_folder_dataset,
)
from keras_vqvae2.data.image_folder import list_images as list_images
from keras_vqvae2.data.tfds_images import tfds_dataset as tfds_dataset
from keras_vqvae2.data.tfrecord_images import (
    tfrecord_dataset as tfrecord_dataset,
)

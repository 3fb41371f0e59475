"""What differs between TensorFlow, JAX and PyTorch, and only that."""

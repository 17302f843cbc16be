"""Products, lanes and scalings under the heads."""

"""Day-to-night image translation as data augmentation for image retrieval."""

__version__ = "0.1.0"

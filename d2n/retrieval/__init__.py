"""Image retrieval: networks, contrastive fine-tuning with night augmentation, whitening and exact search."""

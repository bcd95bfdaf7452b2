"""Manifests, corpora, batches: everything between files on disk and padded tensors."""

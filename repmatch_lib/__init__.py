"""RepMatch: how similar are two sets of training data, judged by what a model learns from each?

The public names stand in ``__init__.pyi``. They are imported when first used, so that ``import repmatch_lib`` is quick.
"""

import os

import lazy_loader

# By default oneDNN and torch keep the kernels of 1,024 shapes of batches each, and memory grows with the corpus by
# half a gigabyte; batches come sorted by length, so few shapes are in use at a time. Read at the first product.
for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(cache, "64")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

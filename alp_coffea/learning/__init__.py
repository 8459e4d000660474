"""Event classifiers: training on skims, evaluation, and scores for processors.

Training needs the extra ``learning`` (PyTorch); what it writes is an ONNX file that needs only
onnxruntime. Processors import :class:`Classifier` from here; the modules for training are
``samples``, ``training``, ``evaluation`` and ``card``, see docs/fusion.md.
"""

from __future__ import annotations

from alp_coffea.learning.classifier import Classifier

__all__ = ["Classifier"]

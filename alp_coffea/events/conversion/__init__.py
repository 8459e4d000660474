"""From the other layouts that basf2 writes to the canonical one, once per file.

``convert`` reads single-list event trees and flat candidate rows; ``inspection`` and the catalogue
share its names and column maps.
"""

from __future__ import annotations

"""Results in the formats of others: a HEPData submission, ROOT and CSV files.

Everything is made from an output folder (:class:`alp_coffea.results.Run`), so a finished run can
be exported at any time:

    >>> import alp_coffea
    >>> from alp_coffea.export import write_hepdata
    >>> write_hepdata(alp_coffea.load("out/demo"), "out/demo/hepdata")  # doctest: +SKIP
"""

from __future__ import annotations

from alp_coffea.export.hepdata import write_hepdata
from alp_coffea.export.histograms import write_csv, write_root

__all__ = ["write_csv", "write_hepdata", "write_root"]

"""``root://`` against a real XRootD server on this machine.

Needs the server (Debian: xrootd-server) and the client (PyPI: fsspec-xrootd, which brings xrootd).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from foreign import make_events, write_lists
from ntuples import canonical, catalogue, write_parquet, write_root

from alp_coffea import open_events, process
from alp_coffea.__main__ import main
from alp_coffea.errors import MissingFileError, UnreadableFileError
from alp_coffea.events.datasets import open_catalogue

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("xrootd") is None or importlib.util.find_spec("fsspec_xrootd") is None,
        reason="no XRootD: apt-get install xrootd-server, pip install fsspec-xrootd",
    ),
    # the client's file system keeps files open until the process ends
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """What the server shows; it does not run as root, who alone may look into pytest's folders."""
    with tempfile.TemporaryDirectory(prefix="alp_coffea-xrootd-") as name:
        Path(name).chmod(0o755)
        (Path(name) / "data").mkdir()
        yield Path(name) / "data"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    home = folder.parent / "server"
    home.mkdir()
    home.chmod(0o777)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (home / "xrootd.cfg").write_text(
        f"all.export /\noss.localroot {folder.parent}\nxrd.port {port}\n"
        f"all.adminpath {home}\nall.pidpath {home}\n",
        "utf-8",
    )
    command = ["xrootd", "-c", str(home / "xrootd.cfg")]
    if os.geteuid() == 0:
        command += ["-R", "nobody"]
    with (home / "log").open("wb") as log:
        running = subprocess.Popen(command, cwd=home, stdout=log, stderr=log)
    try:
        for _ in range(100):
            time.sleep(0.1)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        else:
            raise RuntimeError((home / "log").read_text("utf-8"))
        yield f"root://127.0.0.1:{port}//data"
    finally:
        running.terminate()
        running.wait()


def test_files_and_patterns_are_read_as_from_disk(
    folder: Path, server: str, tmp_path: Path
) -> None:
    for number in range(3):
        columns = canonical(np.arange(100 * number, 100 * number + 50))
        write_root(folder / f"part_{number}.root", columns)
    write_parquet(folder / "whole.parquet", canonical(np.arange(40)))
    made = catalogue(tmp_path, f"{server}/part_*.root")
    records = open_catalogue(made)
    assert [record.path for record in records] == [f"{server}/part_{n}.root" for n in range(3)]
    for record in records:
        local = folder / Path(record.path).name
        assert (record.expected, record.size) == (50, local.stat().st_size)
    for name in ("part_1.root", "whole.parquet"):
        remote, local = open_events(f"{server}/{name}"), open_events(folder / name)
        assert ak.all(remote.Photon.E == local.Photon.E)
        assert ak.all(remote.Track.p == local.Track.p)


def test_a_processor_reads_over_the_network(folder: Path, server: str) -> None:
    from alp_coffea.simulation.samples import write_sample

    path = folder / "ggg.root"
    write_sample(path, "ggg", 300, seed=1)
    remote, local = (
        process("strahlung", {"ggg": str(where)}, simulated=["ggg"], executor=executor, workers=2)
        for where, executor in ((f"{server}/ggg.root", "futures"), (path, "iterative"))
    )
    assert remote.ledger[0]["read"] == 300
    assert remote.histograms.keys() == local.histograms.keys()
    assert all(remote.histograms[name] == h for name, h in local.histograms.items())


def test_other_layouts_are_converted_and_inspected(
    folder: Path, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    event = make_events(200)
    write_lists(folder / "lists.root", event)
    made = catalogue(tmp_path, f"{server}/lists.root")
    (record,) = open_catalogue(made, cache=tmp_path / "cache")
    assert record.conversion is not None
    assert record.source == f"{server}/lists.root"
    assert ak.all(ak.from_parquet(record.path).gamma_E == event["photons"]["E"])
    assert main(["inspect", f"{server}/lists.root", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["size"] == (folder / "lists.root").stat().st_size
    assert [tree["entries"] for tree in report["trees"]] == [200, 200]


def test_what_is_not_there_is_named(folder: Path, server: str, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="gone.root: no such file on the server"):
        open_catalogue(catalogue(tmp_path, f"{server}/gone.root"))
    whole = write_root(folder / "cut.root", canonical(np.arange(5000)))
    whole.write_bytes(whole.read_bytes()[:9000])
    with pytest.raises(UnreadableFileError, match=r"cut\.root"):
        open_catalogue(catalogue(tmp_path, f"{server}/cut.root"))

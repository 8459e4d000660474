"""Workers that somebody else has started: reached, checked, and given all that they need."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import sysconfig
import venv
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import inputs
import pytest
import yaml
from services import scheduler, worker

import alp_coffea
from alp_coffea.__main__ import main
from alp_coffea.errors import ConfigurationError
from alp_coffea.execution import Cluster, load_processor, process_files
from alp_coffea.execution.progress import Status
from alp_coffea.physics import SUPERKEKB

WHOLE = {"one": 1_999_000, "two": 5_999_000}


class Bench:
    """Four files of 1000 events and a processor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "filler.py").write_text(inputs.PROCESSOR, "utf-8")
        self.catalogue = inputs.small_catalogue(folder)
        self.status: Status | None = None

    def run(self, cluster: Cluster | None, **settings: Any) -> dict[str, Any]:
        """Process in chunks of 100; ``then`` is called once, after 500 events."""
        then = settings.pop("then", None)

        def update(status: Status) -> None:
            nonlocal then
            self.status = status
            if then is not None and status.events >= 500:
                then, now = None, then
                now()

        options = settings.pop("options", {})
        processor = load_processor(str(self.folder / "filler.py"), options, beams=SUPERKEKB)
        return process_files(
            processor,
            inputs.opened(self.catalogue),
            self.catalogue,
            executor=cluster or "iterative",
            chunksize=100,
            checkpoints=None if cluster is None else self.folder / "checkpoints",
            progress=update,
            **settings,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def analysis(bench: Bench) -> Path:
    """An analysis file for the command line, which wants a cutflow of a processor."""
    source = inputs.PROCESSOR.replace(
        "import hist\n", "import hist\nfrom alp_coffea.events.selection import Cutflow\n"
    ).replace('"sum": ', '"cutflow": Cutflow(),\n                "sum": ')
    (bench.folder / "filler.py").write_text(source, "utf-8")
    content = {
        "title": "small",
        "catalogue": "catalogue.yaml",
        "processor": "filler.py",
        "scan": {"low": 1.0, "high": 2.0, "step": 1.0},
    }
    path = bench.folder / "analysis.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


def sums(output: dict[str, Any]) -> dict[str, int]:
    return {sample: part["sum"] for sample, part in output.items()}


def test_a_scheduler_that_does_not_answer_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alp_coffea.execution.dask_engine.ANSWER", 1.0)
    with pytest.raises(ConfigurationError, match="no dask scheduler answers at tcp://127.0.0.1:9"):
        bench.run(Cluster(scheduler="tcp://127.0.0.1:9"))


# --- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of an authority, and of a certificate that it signed with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make certificates")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        command = ["openssl", *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    new = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
    for name in ("ca", "other"):
        files = ["-keyout", f"{name}-key.pem", "-out", f"{name}.pem"]
        openssl("req", "-x509", *new, *files, "-subj", f"/CN={name} of a test")
    openssl("req", *new, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=dask")
    signing = ["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2"]
    openssl("x509", "-req", "-in", "request.pem", *signing, "-out", "cert.pem")
    return {name: str(folder / f"{name}.pem") for name in ("ca", "cert", "key", "other")}


def options(certificates: dict[str, str]) -> list[str]:
    """What dask's own commands want to be told."""
    names = {"ca": "--tls-ca-file", "cert": "--tls-cert", "key": "--tls-key"}
    return [text for name, flag in names.items() for text in (flag, certificates[name])]


@pytest.mark.slow
def test_tls_through_options_and_through_dasks_configuration(
    bench: Bench, certificates: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask

    secure = options(certificates)
    tls = {name: certificates[name] for name in ("ca", "cert", "key")}
    with (
        scheduler(bench.folder, "--protocol", "tls", *secure) as address,
        worker(address, bench.folder, *secure),
    ):
        assert address.startswith("tls://")
        assert sums(bench.run(Cluster(scheduler=address, tls=tls))) == WHOLE
        shutil.rmtree(bench.folder / "checkpoints")
        settings = {
            "distributed.comm.tls.ca-file": tls["ca"],
            "distributed.comm.tls.client.cert": tls["cert"],
            "distributed.comm.tls.client.key": tls["key"],
        }
        with dask.config.set(settings):
            assert sums(bench.run(Cluster(scheduler=address))) == WHOLE
        # nobody without the right certificates gets in, and the message says where to look
        monkeypatch.setattr("alp_coffea.execution.dask_engine.ANSWER", 3.0)
        for wrong in ({**tls, "ca": certificates["other"]}, {**tls, "key": "/no/such/key.pem"}, {}):
            with pytest.raises(ConfigurationError, match=r"no dask scheduler .*tls://.*TLS opt"):
                bench.run(Cluster(scheduler=address, tls=wrong))


@pytest.mark.slow
def test_tls_on_the_command_line(bench: Bench, certificates: dict[str, str]) -> None:
    secure = options(certificates)
    with (
        scheduler(bench.folder, "--protocol", "tls", *secure) as address,
        worker(address, bench.folder, *secure),
    ):
        command = ["run", str(analysis(bench)), "-o", str(bench.folder / "out")]
        command += ["--stages", "process", "--scheduler", address]
        for name in ("ca", "cert", "key"):
            command += [f"--tls-{name}", certificates[name]]
        assert main(command) == 0


# --- environments of workers ---------------------------------------------------------------------


def environment(folder: Path) -> Path:
    """The Python of a new environment that has our libraries, but not the package itself."""
    venv.create(folder, symlinks=True, with_pip=False)
    # a folder named in a .pth file is searched, but what its own .pth files say is not done: an
    # editable installation of the package stays invisible
    (site(folder) / "libraries.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    return folder / "bin" / "python"


def site(folder: Path) -> Path:
    """Where packages are in an environment."""
    return Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))


@pytest.mark.slow
def test_workers_with_only_the_wheel_run_a_users_own_processor(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a processor and a module beside it, in a folder that only the client can import from
    helper = bench.folder / "cuts_of_the_user.py"
    helper.write_text("def scale():\n    return 1\n", "utf-8")
    source = (
        inputs.PROCESSOR.replace(
            "SCALE = 1", "import cuts_of_the_user\n\nSCALE = cuts_of_the_user.scale()"
        )
        .replace("        time.sleep(self.pause)\n", "        where = package()\n")
        .replace('"selected": ', '"where": {where},\n                "selected": ')
    )
    source += (
        "\n\ndef package():\n"
        "    import alp_coffea\n"
        "    from alp_coffea.physics.beams import Beams\n\n"
        "    assert cuts_of_the_user.scale() == 1\n"
        "    return str(Path(alp_coffea.__file__).parent)\n"
    )
    (bench.folder / "filler.py").write_text(source, "utf-8")
    monkeypatch.syspath_prepend(bench.folder)
    sys.modules.pop("cuts_of_the_user", None)
    undisturbed = bench.run(None)

    elsewhere = tmp_path_factory.mktemp("elsewhere")
    checkout = Path(alp_coffea.__file__).parents[1]
    python = environment(elsewhere / "wheel")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = ["wheel", "--no-deps", "--wheel-dir", str(elsewhere), str(checkout)]
    subprocess.run([*pip, *build], check=True, cwd=elsewhere)
    (wheel,) = elsewhere.glob("alp_coffea-*.whl")
    install = ["--python", str(python), "install", "--no-deps", str(wheel)]
    subprocess.run([*pip, *install], check=True, cwd=elsewhere)
    clean = {"PYTHONPATH": ""}
    with (
        scheduler(elsewhere) as address,
        worker(address, elsewhere, python=python, environment=clean),
    ):
        output = bench.run(Cluster(scheduler=address))
    for sample, part in output.items():
        assert part.pop("where") == {str(site(elsewhere / "wheel") / "alp_coffea")}
        assert undisturbed[sample].pop("where") == {str(checkout / "alp_coffea")}
    assert output.keys() == undisturbed.keys()
    assert all(output[sample] == undisturbed[sample] for sample in output)
    assert sums(output) == WHOLE


@pytest.mark.slow
@pytest.mark.parametrize("package", [None, "99.0"])
def test_a_worker_that_joins_late_with_another_environment_is_named(
    bench: Bench, package: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("late")
    python = environment(folder)
    if package is not None:
        copy = site(folder) / "alp_coffea"
        shutil.copytree(Path(alp_coffea.__file__).parent, copy)
        text = (copy / "__init__.py").read_text("utf-8")
        (copy / "__init__.py").write_text(text.replace(alp_coffea.__version__, package), "utf-8")
    message = "cannot import alp_coffea" if package is None else "has alp_coffea 99.0, the submit"
    with (
        scheduler(folder) as address,
        worker(address, folder),
        ExitStack() as late,
    ):
        joining = worker(address, folder, python=python, environment={"PYTHONPATH": ""})

        def then() -> None:
            late.enter_context(joining)

        with pytest.raises(ConfigurationError, match=f"worker .*{message}"):
            bench.run(Cluster(scheduler=address), then=then, options={"pause": 1.0})


@pytest.mark.slow
def test_a_library_that_only_the_client_has_is_named(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alp_coffea.execution import fingerprints

    folder = tmp_path_factory.mktemp("lacking")
    python = environment(folder)
    shutil.copytree(Path(alp_coffea.__file__).parent, site(folder) / "alp_coffea")
    # what counts as an installed library does not travel with the processor
    (folder / "clever_library.py").write_text("def cut(x):\n    return x\n", "utf-8")
    monkeypatch.syspath_prepend(folder)
    true = fingerprints.installed
    monkeypatch.setattr(fingerprints, "installed", lambda path: "clever" in path or true(path))
    source = "import clever_library\n" + inputs.PROCESSOR
    source = source.replace(
        "        time.sleep", "        clever_library.cut(1)\n        time.sleep"
    )
    (bench.folder / "filler.py").write_text(source, "utf-8")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with (
        scheduler(elsewhere) as address,
        worker(address, elsewhere, python=python, environment={"PYTHONPATH": ""}),
        pytest.raises(ConfigurationError, match=r"worker .* load the .*'clever_library'"),
    ):
        bench.run(Cluster(scheduler=address))


@pytest.mark.slow
def test_workers_with_another_version_are_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed.versions

    true = distributed.versions._version_cached
    monkeypatch.setattr(
        "distributed.versions._version_cached",
        lambda name: "2019.1.0" if name == "coffea" else true(name),
    )
    with pytest.raises(ConfigurationError, match=r"worker tcp.* has coffea 20.*process 2019.1.0"):
        bench.run(Cluster(1))


# --- batch systems -------------------------------------------------------------------------------

SUBMIT = {"slurm": "sbatch", "htcondor": "condor_submit", "lsf": "bsub", "pbs": "qsub"}
#: What each batch system's job must ask for, in its own words.
WORDS = {
    "slurm": ["#SBATCH --cpus-per-task=1", "#SBATCH --mem=2G", "#SBATCH -t 01:00:00"],
    "htcondor": ["MY.DaskWorkerCores = 1", "MY.DaskWorkerMemory = 2147483648", "RequestMemory ="],
    "lsf": ["#BSUB -n 1", "#BSUB -M 2147484", "#BSUB -W 01:00"],
    "pbs": ["#PBS -l select=1:ncpus=1:mem=2048MB", "#PBS -l walltime=01:00:00"],
}


@pytest.fixture
def configure() -> Iterator[Callable[[str, Path], None]]:
    """Sets the options of a batch system for dask-jobqueue."""
    import dask
    import dask_jobqueue  # its defaults come first

    assert dask_jobqueue
    with ExitStack() as stack:

        def use(system: str, folder: Path) -> None:
            options = {"cores": 1, "processes": 1, "memory": "2GiB"}
            options |= {"log-directory": str(folder / "logs")}
            options |= {"job-script-prologue": ["export OF_THE_SITE=1"]}
            options |= {"disk": "1GB"} if system == "htcondor" else {}
            options |= {"lsf": {"walltime": "01:00"}, "htcondor": {}}.get(
                system, {"walltime": "01:00:00"}
            )
            settings = {f"jobqueue.{system}.{name}": value for name, value in options.items()}
            stack.enter_context(dask.config.set(settings))

        yield use


def stand_in(folder: Path, system: str, script: str) -> None:
    """A command of that name first on the path; this is not the batch system."""
    command = folder / SUBMIT[system]
    command.write_text("#!/bin/sh\n" + script, "utf-8")
    command.chmod(0o755)


@pytest.mark.parametrize("system", SUBMIT)
def test_a_missing_batch_system_is_named(
    system: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(bench.folder))
    message = f"--cluster {system} submits jobs with '{SUBMIT[system]}', which is not found"
    with pytest.raises(ConfigurationError, match=message):
        bench.run(Cluster(batch=system))


@pytest.mark.parametrize("system", SUBMIT)
def test_jobs_ask_for_what_the_configuration_says_and_a_refusal_is_shown(
    system: Any, bench: Bench, configure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the stand-in keeps the job and refuses it, as a real one does for a queue that is not there
    # (bsub gets it on its standard input, and what it says to standard error is not seen)
    refuse = "echo no such queue >&2\necho no such queue\nexit 255\n"
    stand_in(bench.folder, system, f"cat $1 > {bench.folder}/job\n{refuse}")
    monkeypatch.setenv("PATH", str(bench.folder), prepend=":")
    configure(system, bench.folder)
    with pytest.raises(ConfigurationError, match="not take the job: .*no such queue") as caught:
        bench.run(Cluster(batch=system))
    job = (bench.folder / "job").read_text("utf-8")
    for text in (
        *WORDS[system],
        sys.executable,
        "distributed.cli.dask_worker",
        "--nthreads",
        "export OF_THE_SITE=1",
        "export DASK_INTERNAL_INHERIT_CONFIG=",
    ):
        assert text in job.replace("' '", " "), text
        assert text in str(caught.value).replace("' '", " "), text


@pytest.mark.slow
@pytest.mark.parametrize("system", ["slurm", "lsf", "pbs"])
def test_job_scripts_start_workers_with_our_settings(
    system: Any, bench: Bench, configure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = inputs.PROCESSOR.replace(
        '"selected": ',
        '"settings": {f"{name}={os.environ.get(name)}" for name in ("OMP_NUM_THREADS", '
        '"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "OF_THE_SITE")},\n'
        '                "selected": ',
    )
    (bench.folder / "filler.py").write_text(source, "utf-8")
    # jobs are shell scripts here: the stand-in runs them on this machine, in the background
    script, log = bench.folder / "script", bench.folder / "log"
    keep = f"cat $1 > {script}\nunset OMP_NUM_THREADS\n"
    start = f'sh {script} > {log} 2>&1 &\necho "Job <$!> submitted"\n'
    stand_in(bench.folder, system, keep + start)
    for cancel in ("scancel", "bkill", "qdel"):
        (bench.folder / cancel).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(bench.folder), prepend=":")
    configure(system, bench.folder)
    output = bench.run(Cluster(1, batch=system))
    assert sums(output) == WHOLE
    assert output["one"]["settings"] == {
        "OMP_NUM_THREADS=1",
        "MALLOC_TRIM_THRESHOLD_=1073741824",
        "MALLOC_MMAP_THRESHOLD_=33554432",
        "OF_THE_SITE=1",
    }


def test_options_that_a_batch_system_needs_are_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(bench.folder, "slurm", "exit 1\n")
    monkeypatch.setenv("PATH", str(bench.folder), prepend=":")
    with warnings.catch_warnings():
        # what dask-jobqueue leaves behind of a cluster that it did not make
        warnings.simplefilter("ignore", ResourceWarning)
        command = ["run", str(analysis(bench)), "-o", str(bench.folder / "out")]
        assert main([*command, "--stages", "process", "--cluster", "slurm"]) == 2
        gc.collect()
    errors = capsys.readouterr().err
    assert "cannot start a slurm cluster: You must specify how much cores and memory" in errors
    assert "~/.config/dask/jobqueue.yaml under jobqueue.slurm" in errors

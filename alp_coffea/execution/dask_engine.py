"""Tasks on dask workers: our own local ones, an existing scheduler's, or a batch system's."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import logging
import os
import queue
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import cloudpickle
import dask
import distributed
from distributed import Client, Future, LocalCluster
from distributed.security import Security
from tornado.ioloop import PeriodicCallback

from alp_coffea.errors import ConfigurationError, IncompleteRunError
from alp_coffea.execution.clusters import CLUSTERS, Cluster
from alp_coffea.execution.engines import ONE_THREAD, WorkerLostError
from alp_coffea.execution.tasks import Shipped

#: Set before a worker starts. Dask's own default gives memory back after every array, which makes
#: awkward 1.8 times slower; glibc needs both thresholds.
ENVIRONMENT: Final = {
    **ONE_THREAD,
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
}
#: What client and workers must agree on: these decide what travels and what comes out.
SAME_VERSIONS: Final = ("alp_coffea", "awkward", "boost_histogram", "cloudpickle", "coffea",
                        "distributed", "hist", "numpy", "uproot")  # fmt: skip
#: How long a scheduler may take to answer [s].
ANSWER: Final = 20.0
#: How long to wait for results that are said to be there [s].
_FETCH: Final = 30.0
#: How long to wait before trying again to fetch results [s].
_AGAIN: Final = 0.2
#: How long to go on without any worker on somebody else's scheduler [s].
PATIENCE: Final = 600.0


@contextmanager
def connect(cluster: Cluster) -> Iterator[DaskEngine]:
    """A connected engine; what was started for it is stopped at the end.

    Raises ConfigurationError if the scheduler does not answer, a library is missing, or client
    and workers have different versions.
    """
    with dask.config.set({"distributed.nanny.pre-spawn-environ": ENVIRONMENT}):
        if cluster.scheduler is not None:
            client = _existing(cluster.scheduler, cluster.tls)
            started = None
        else:
            started = _local(cluster.workers) if cluster.batch is None else _batch(cluster)
            client = Client(started, set_as_default=False)
        try:
            # a batch system may let jobs wait for days
            engine = DaskEngine(client, None if cluster.batch else PATIENCE)
            engine.wait_for_workers()
            engine.versions = _check_versions(client)
            yield engine
        finally:
            client.close()
            if started is not None:
                started.close()


def _local(workers: int | None) -> LocalCluster:
    number = workers or os.cpu_count() or 1
    settings = {
        # a task that killed two workers is looked into instead of killing more
        "distributed.scheduler.allowed-failures": 1,
        "distributed.deploy.lost-worker-timeout": "5s",
    }
    with dask.config.set(settings):
        cluster = LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        )

    def revive() -> None:
        # a nanny gives up when its worker dies while starting
        if len(cluster.scheduler.workers) < number and cluster.status.name == "running":
            cluster.scale(number)

    callback = PeriodicCallback(revive, 2000)
    cluster.loop.add_callback(callback.start)
    return cluster


def _existing(address: str, tls: Mapping[str, str]) -> Client:
    security = None
    if tls:
        security = Security(
            tls_ca_file=tls["ca"],
            tls_client_cert=tls["cert"],
            tls_client_key=tls["key"],
            require_encryption=True,
        )
    try:
        return Client(address, security=security, timeout=ANSWER, set_as_default=False)
    except (OSError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"no dask scheduler answers at {address}: {type(error).__name__}: {error}. Check the "
            "address, and the TLS options of a tls:// one"
        ) from error


def _batch(cluster: Cluster) -> Any:
    assert cluster.batch is not None
    try:
        jobqueue = importlib.import_module("dask_jobqueue")
    except ImportError as error:
        raise ConfigurationError(
            "--cluster needs dask-jobqueue: pip install 'alp-coffea[dask]'"
        ) from error
    kind = getattr(jobqueue, CLUSTERS[cluster.batch])
    command = kind.job_cls.submit_command
    if shutil.which(command) is None:
        raise ConfigurationError(
            f"--cluster {cluster.batch} submits jobs with '{command}', which is not found here; "
            "run on a machine that may submit, or use --scheduler or --executor"
        )
    # workers inherit our settings; what the site's configuration says comes after them
    settings = dask.config.serialize({"distributed": {"nanny": {"pre-spawn-environ": ENVIRONMENT}}})
    name = f"jobqueue.{cluster.batch}.job-script-prologue"
    prologue = [f"export DASK_INTERNAL_INHERIT_CONFIG={settings}", *dask.config.get(name, [])]
    # another port where somebody else on this machine has dask's usual one
    options = {"dashboard_address": ":0"}
    options |= dask.config.get(f"jobqueue.{cluster.batch}.scheduler-options", {})
    try:
        started = kind(job_script_prologue=prologue, scheduler_options=options)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"dask-jobqueue cannot start a {cluster.batch} cluster: {_one_line(error)}. Set its "
            f"options in ~/.config/dask/jobqueue.yaml under jobqueue.{cluster.batch}, see "
            "docs/batch.md"
        ) from error
    try:
        # the first job now, and not by adapting, which would go on for ever with refused ones
        started.worker_spec.update(started.new_worker_spec())
        started.sync(_submit, started)
    except RuntimeError as error:
        for job in started.workers.values():
            job.status = distributed.Status.failed  # or it could not be closed
        started.close()
        raise ConfigurationError(
            f"the batch system does not take the job: {_one_line(error)}. The job was:\n"
            f"{started.job_script()}\nChange the options in ~/.config/dask/jobqueue.yaml under "
            f"jobqueue.{cluster.batch}"
        ) from error
    started.adapt(minimum_jobs=1, maximum_jobs=cluster.workers or 10)
    return started


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


async def _submit(cluster: Any) -> None:
    await cluster


def _check_versions(client: Client) -> dict[str, str | None]:
    """Versions here; the scheduler's count too: it unpacks the descriptions of tasks."""
    found = client.get_versions(packages=list(SAME_VERSIONS))
    here = _versions(found["client"])
    others = {"the scheduler": found["scheduler"]}
    others |= {f"worker {address}": worker for address, worker in found["workers"].items()}
    for who, there in others.items():
        for name, version in _versions(there).items():
            if version != here[name]:
                raise ConfigurationError(
                    f"{who} has {name} {version or '(none)'}, this process {here[name]}; tasks "
                    "and results could not travel between them. Install the same versions in "
                    "both environments"
                )
    return {name: here[name] for name in SAME_VERSIONS}


def _versions(report: Mapping[str, Any]) -> dict[str, str | None]:
    packages = report["packages"]
    python = ".".join(packages["python"].split(".")[:2])
    return {"python": python, **{name: packages.get(name) for name in SAME_VERSIONS}}


class DaskEngine:
    """See :class:`~alp_coffea.execution.engines.Engine`; keeps few tasks on the scheduler."""

    knows_culprit = True

    def __init__(self, client: Client, patience: float | None) -> None:
        self.client = client
        self.description = (
            f"dask scheduler {client.scheduler.address}, dashboard {client.dashboard_link}"
        )
        #: What workers that join later must have.
        self.versions: dict[str, str | None] = {}
        self._alive = time.monotonic()
        self._patience = patience
        self._done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._futures: set[Future] = set()
        self._names = itertools.count()
        self._threads = 0
        self._counted = 0.0

    @property
    def capacity(self) -> int:
        now = time.monotonic()
        if now - self._counted > 1.0:
            # a scheduler that was lost just now: the tasks under way will say so
            with suppress(OSError):
                self._threads, self._counted = sum(self.client.nthreads().values()), now
        return 4 * self._threads + 8

    def wait_for_workers(self) -> None:
        """Until there is one. Raises IncompleteRunError when patience ends."""
        try:
            self.client.wait_for_workers(1, timeout=self._patience)
        except TimeoutError as error:
            raise IncompleteRunError(self._nobody()) from error

    def prepare(self, function: Callable[[Any], Any]) -> Any:
        # bytes, so that workers without the package survive to say so; and not scattered:
        # scattered data are lost with the workers that hold them
        code = cloudpickle.dumps(Shipped(function, self.versions))
        return self.client.submit(bytes, code, key=f"function-{next(self._names)}")

    def submit(self, function: Any, argument: Any) -> object:
        future = self.client.submit(
            _CALL,
            function,
            cloudpickle.dumps(argument),
            key=f"{type(argument).__name__}-{next(self._names)}",
            pure=False,
        )
        self._futures.add(future)
        future.add_done_callback(self._done.put)
        return future

    def outcomes(self) -> Iterator[tuple[object, Any]]:
        batch = {self._next()}
        while not self._done.empty():
            batch.add(self._done.get())
        batch &= self._futures  # one that was put back may have been told about meanwhile
        finished = [future for future in batch if future.status == "finished"]
        values = self._values(finished)
        for future in batch:
            if future in values:
                outcome = values[future]
            elif future.status == "cancelled":
                raise IncompleteRunError(
                    f"the dask scheduler at {self.client.scheduler.address} was lost or restarted. "
                    "Run the same command again: what is finished is kept"
                )
            elif future.status == "error":
                outcome = future.exception()
                if isinstance(outcome, ImportError):
                    raise ConfigurationError(
                        f"{outcome}. Install the same version of it where workers start, or set "
                        "their environment up (batch jobs: job-script-prologue in jobqueue.yaml)"
                    )
                if isinstance(outcome, distributed.KilledWorker):
                    deaths = outcome.allowed_failures + 1
                    outcome = WorkerLostError(deaths, f"{deaths} workers died of it")
            else:
                if future not in finished:  # its worker died just now: it is repeated
                    future.add_done_callback(self._done.put)
                continue
            self._futures.discard(future)
            yield future, outcome

    def _values(self, futures: list[Future]) -> dict[Future, Any]:
        """Results of finished tasks; those that cannot be had now are put back."""
        if not futures:
            return {}
        try:
            values = self.client.sync(
                lambda: self.client.gather(futures, asynchronous=True), callback_timeout=_FETCH
            )
        except (distributed.KilledWorker, TimeoutError, OSError, asyncio.CancelledError):
            # their worker died, and they are being repeated; or the scheduler was lost just now,
            # and they will soon be cancelled
            time.sleep(_AGAIN)
            self._check_alive()
            for future in futures:
                future.add_done_callback(self._done.put)
            return {}
        return dict(zip(futures, values, strict=True))

    def _next(self) -> Future:
        while True:
            try:
                return self._done.get(timeout=5.0)
            except queue.Empty:
                self._check_alive()

    def _check_alive(self) -> None:
        now = time.monotonic()
        if self.capacity and self._threads:
            self._alive = now
        elif self._patience and now - self._alive > self._patience:
            raise IncompleteRunError(self._nobody())

    def _nobody(self) -> str:
        return (
            f"no worker has been connected to the dask scheduler at "
            f"{self.client.scheduler.address} for {self._patience:.0f} s. Start workers and run "
            "the same command again: what is finished is kept"
        )

    def close(self) -> None:
        self.client.cancel(list(self._futures), force=True)
        self._futures.clear()


def _by_value() -> Callable[[bytes, bytes], Any]:
    # a function inside another has no name to be imported by: it travels as it is
    def call(function: bytes, argument: bytes) -> Any:
        try:
            from alp_coffea.execution.tasks import call_packed
        except ImportError as error:
            import os
            import socket

            # nothing else may be raised: errors of ours could not be made here
            raise ImportError(
                f"worker {os.getpid()} on {socket.gethostname()} cannot import alp_coffea: {error}"
            ) from None
        return call_packed(function, argument)

    return call


_CALL: Final = _by_value()

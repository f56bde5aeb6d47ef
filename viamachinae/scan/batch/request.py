"""What is asked of a cluster, checked before Slurm is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from viamachinae.errors import ConfigError
from viamachinae.scan.batch.site import Node, Site, seconds

__all__ = ["Job", "Request", "job_of"]

Shape = Literal["array", "ray"]
Container = Literal["shifter", "podman-hpc"]


@dataclass(frozen=True)
class Request:
    """What the user asks for; an empty text stands for the site's default.

    Parameters
    ----------
    shape : {"array", "ray"}
        A job array of groups of patches, or one job over several nodes.
    nodes : int
        Nodes of the job; of an array its tasks, each on a node of its own.
    gpu : bool
        Whether densities train on GPUs.
    time : str
        Wall-time of a job, ``HH:MM:SS`` or ``D-HH:MM:SS``.
    account, qos : str
        As Slurm knows them.
    container : {"shifter", "podman-hpc"}, optional
        What runs the program in a container.
    image : str
        The container's image.
    """

    shape: Shape = "array"
    nodes: int = 4
    gpu: bool = False
    time: str = ""
    account: str = ""
    qos: str = ""
    container: Container | None = None
    image: str = ""


@dataclass(frozen=True)
class Job:
    """A request with the site's answers.

    Parameters
    ----------
    request : Request
        What was asked for.
    site : Site
        The cluster.
    node : Node
        The kind of its nodes.
    time, account, qos : str
        As they go to Slurm; empty: Slurm's own default.
    """

    request: Request
    site: Site
    node: Node
    time: str
    account: str
    qos: str


def job_of(request: Request, site: Site) -> Job:
    """Return the job that a request means on a site.

    Raises
    ------
    ConfigError
        The site cannot or will not run it.
    """
    node = _node(request, site)
    if request.nodes < 1:
        msg = f"--nodes must be 1 or more, got {request.nodes}"
        raise ConfigError(msg)
    if request.container and not request.image:
        msg = f"--container {request.container} needs --image, the name of an image with viamachinae in it"
        raise ConfigError(msg)
    if request.image and not request.container:
        msg = "--image needs --container: shifter or podman-hpc"
        raise ConfigError(msg)
    time = request.time or site.time
    qos = request.qos or site.qos_default
    _check_time(time, site)
    if qos and site.qos:
        _check_limits(request, site, qos, time)
    return Job(request, site, node, time, _account(request, site, node), qos)


def _node(request: Request, site: Site) -> Node:
    if not request.gpu:
        return site.cpu
    if site.gpu is None or not site.gpu.gpus:
        msg = "--gpu: the site has no nodes with GPUs; leave it out, or give the site's file a section [gpu]"
        raise ConfigError(msg)
    return site.gpu


def _check_time(time: str, site: Site) -> None:
    try:
        length = seconds(time)
    except ValueError as error:
        msg = f"--time {time}: {error}"
        raise ConfigError(msg) from error
    if length <= site.grace:
        msg = (
            f"--time {time} leaves nothing to work in: a job is warned {site.grace} s before its end; "
            "ask for more, or set grace in the site's file"
        )
        raise ConfigError(msg)


def _check_limits(request: Request, site: Site, qos: str, time: str) -> None:
    if qos not in site.qos:
        msg = f"--qos {qos}: the site has none of that name; valid: {', '.join(site.qos)}"
        raise ConfigError(msg)
    limits = site.qos[qos]
    if seconds(time) > seconds(limits.max_time):
        msg = f"--time {time}: --qos {qos} allows {limits.max_time} at most"
        raise ConfigError(msg)
    if request.shape == "ray" and 0 < limits.max_nodes < request.nodes:
        msg = f"--nodes {request.nodes}: --qos {qos} allows {limits.max_nodes} at most"
        raise ConfigError(msg)
    # The job that merges stands in the queue too.
    if request.shape == "array" and 0 < limits.max_jobs < request.nodes + 1:
        most = limits.max_jobs - 1
        msg = f"--nodes {request.nodes}: --qos {qos} allows {most} at most beside the job that merges"
        raise ConfigError(msg)


def _account(request: Request, site: Site, node: Node) -> str:
    if not request.account:
        if site.account:
            msg = "--account is missing: the project that is charged, as --account m1234"
            raise ConfigError(msg)
        return ""
    gpu = site.gpu.account_suffix if site.gpu else ""
    if gpu and not request.gpu and request.account.endswith(gpu):
        msg = f"--account {request.account} pays for nodes with GPUs only: add --gpu, or drop the {gpu}"
        raise ConfigError(msg)
    return request.account.removesuffix(node.account_suffix) + node.account_suffix

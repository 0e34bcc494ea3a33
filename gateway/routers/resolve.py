"""References that people write, as the digests that services take."""

from gateway.context import Gateway
from proto.gen.modelwright.data.v1 import dataset_pb2
from proto.gen.modelwright.train.v1 import registry_pb2
from services.common.digest import PATTERN
from services.common.rpc import acall


async def dataset_digest(here: Gateway, project: str, ref: str) -> str:
    """Return the digest of `digits`, `digits:3` or a digest."""
    if PATTERN.fullmatch(ref):
        return ref
    request = dataset_pb2.GetVersionRequest(project=project, ref=ref)
    return str((await acall(here.upstream.data.GetVersion, request)).version.digest)


async def model_version(here: Gateway, project: str, ref: str) -> registry_pb2.ModelVersion:
    """Return the version that any reference of the registry means."""
    request = registry_pb2.GetModelVersionRequest(project=project, ref=ref)
    version: registry_pb2.ModelVersion = (await acall(here.upstream.registry.GetModelVersion, request)).version
    return version

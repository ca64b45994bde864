"""The mesh: every node sends its messages to every other over ZeroMQ, encrypted and authenticated.

Each node listens at one ROUTER socket and has one DEALER socket for each peer; keys are CURVE key
pairs made at start, the public ones published in the bucket. Only members are let in.
"""

from s3discovery.mesh.transport import Mesh, MeshCounts
from s3discovery.mesh.wire import Message

__all__ = ["Mesh", "MeshCounts", "Message"]

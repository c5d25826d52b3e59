"""A git repository, read so that nothing in it runs: ``repository`` what it holds, ``plumbing`` how git
is called. It may hold a stranger's pull request."""

from modelbuild.git.plumbing import FAILED
from modelbuild.git.repository import Blob, Repository, TreeEntry, blob_id

__all__ = ["FAILED", "Blob", "Repository", "TreeEntry", "blob_id"]

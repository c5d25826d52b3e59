"""What to do where a model's own code fails for what is not here: a GPU, a network, a file, a package.

Everything that a model's code raises passes here, while it is made and while it runs: these causes
look like a mistake of the recipe, and are none.
"""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path

from modelbuild.steps.origins import chain, frames

_NO_GPU = re.compile(
    r"not compiled with CUDA|NVIDIA driver|No CUDA GPUs|re-initialize CUDA in forked|libcuda|CUDA error|"
    r"accelerator device when none|torch\.cuda\.\w*Tensor|not linked with support for cuda|"
    r"same device, but (found|got)|PyTorch is not linked with",
    re.IGNORECASE,
)
_SAVED_ON_GPU = re.compile(r"deserialize object on a CUDA device|map_location")
_NO_NETWORK = re.compile(
    r"couldn't connect to|Connection error|name resolution|Name or service not known|Network is unreachable|"
    r"no internet|offline mode|outgoing traffic has been disabled|cached snapshot|Max retries exceeded|"
    r"urlopen error",
    re.IGNORECASE,
)
_NO_FOLDER = re.compile(r"Repo id must|Incorrect path_or_model_id")  # a hub's, of what is no name there
_NETWORK_ERRORS = {
    "URLError", "gaierror", "ConnectionRefusedError", "ConnectionResetError", "ConnectTimeout",
    "ConnectError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "MaxRetryError", "ProxyError",
}  # fmt: skip
_ANSWERED = {"HTTPError", "RepositoryNotFoundError", "GatedRepoError", "RemoteEntryNotFoundError"}
_PACKAGES = {
    "cv2": "opencv-python-headless", "PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn",
    "skimage": "scikit-image", "pytorch_lightning": "pytorch-lightning", "mmcv": "mmcv-lite",
}  # fmt: skip
"""What to install for a module, where the two have different names."""


def remedy(error: BaseException, base: Path | None = None) -> str | None:
    """What to do about an error of the user's code; None where it is not of these kinds.

    ``base`` is the recipe's folder.
    """
    if isinstance(error, SystemExit):
        return _of_exit(error)
    links = list(chain(error))
    said = "\n".join(f"{type(link).__name__}: {link}" for link in links)
    names = {kind.__name__ for link in links for kind in type(link).__mro__}
    if _SAVED_ON_GPU.search(said):
        return 'it was saved on a GPU: `torch.load(..., map_location="cpu")` reads it where there is none'
    if _NO_GPU.search(said):
        return (
            'modelbuild runs the model on the CPU: take `.cuda()` and `device="cuda"` out of its code, or '
            "let it ask: `x.device`, `torch.cuda.is_available()`"
        )
    if (names & _NETWORK_ERRORS and not names & _ANSWERED) or _NO_NETWORK.search(said):
        return (
            "it is to be downloaded, and the network was not reached (or `HF_HUB_OFFLINE` is set): download "
            "it beforehand, and give the model the folder or file that it is in"
        )
    if _NO_FOLDER.search(said):
        return f"there is no folder of that name in {Path.cwd()}, where the command runs; name it from there"
    for link in links:
        if isinstance(link, FileNotFoundError) and link.filename is not None:
            return _of_file(link, base)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return missing_package(error.name)
    if isinstance(error, ImportError):
        return "install what it names in modelbuild's own environment, in a version that suits the code"
    return None


def missing_package(module: str) -> str:
    """What to do where a module is not installed."""
    top = module.partition(".")[0]
    return f"install it where modelbuild is installed: `pip install {_PACKAGES.get(top, top)}`"


def _of_exit(error: SystemExit) -> str:
    stack = traceback.extract_tb(error.__traceback__)
    if any(Path(frame.filename).name == "argparse.py" for frame in stack):
        return (
            "it reads a command line, and there is none here: parse arguments under "
            '`if __name__ == "__main__":`, and pass them with `args` and `kwargs`'
        )
    if any(frame.name == "<module>" for frame in stack):
        return 'it ends the process, as a script does: put that under `if __name__ == "__main__":`'
    return "it ends the process: raise an error that says why instead of sys.exit()"


def _of_file(error: FileNotFoundError, base: Path | None) -> str:
    """Where the file is, or where it was looked for."""
    file = Path(os.fsdecode(error.filename)) if not isinstance(error.filename, int) else Path()
    if file.is_absolute():
        return f"there is no {file} on this machine: name it relative to the model's code, with `__file__`"
    code = [Path(os.path.abspath(frame.filename)).parent for frame in reversed(frames(error))]
    for folder in dict.fromkeys([*code, *([base.absolute()] if base else [])]):
        if code and (folder / file).exists():
            path = os.path.relpath(folder / file, code[0])
            return (
                f"it is in {os.path.normpath(folder)}, and the code looks in {Path.cwd()}, where the command "
                f'runs: `Path(__file__).parent / "{path}"` finds it from anywhere'
            )
    return (
        f"it is looked for in {Path.cwd()}, where the command runs: put it there, or name it relative to "
        "the code's own folder, `Path(__file__).parent`"
    )

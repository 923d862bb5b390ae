import hashlib
import os
from pathlib import Path
from typing import NamedTuple


class RemoteFile(NamedTuple):
    """A file on the network, and the checksum of its right content."""

    url: str
    sha256: str


FILES = {
    "t10k-images-idx3-ubyte.gz": RemoteFile(
        "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "t10k-labels-idx1-ubyte.gz": RemoteFile(
        "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "usps.h5": RemoteFile(
        "https://raw.githubusercontent.com/niuers/Learning-From-Data-A-Short-Course/"
        "879a698b960e5867f7c2b11f8938fa89c3d21839/data/usps.h5",
        "734f88c541104a956d88be2c95d03b4a463ffd74ccc2ba9c80841fb98e3fcb36",
    ),
}

_TIMEOUT = 30  # seconds without an answer
_RETRIES = 1


def local_copy(name: str) -> Path:
    """Find the file `name` in the data folder, and download it if it is not there with its right content.

    The folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. A file that is there and right
    is only read: the folder may be read-only, and no network is needed. A download is checked before it takes its
    name, so that the folder never holds a part of one.

    Raises
    ------
    ImportError
        If pooch is not installed.
    OSError
        If the file is not there and cannot be fetched, or is not the right one and cannot be replaced.
    """
    try:
        import pooch
    except ImportError as error:
        raise ImportError(f"{name} is fetched with pooch: pip install 'what-to-keep[book]'") from error

    remote = FILES[name]
    folder = Path(os.environ.get("SELECTLIB_DATA") or pooch.os_cache("selectlib")).expanduser().absolute()
    fetcher = pooch.create(
        path=folder,
        base_url="",
        registry={name: f"sha256:{remote.sha256}"},
        urls={name: remote.url},
        retry_if_failed=_RETRIES,
    )
    try:
        return Path(fetcher.fetch(name, downloader=pooch.HTTPDownloader(timeout=_TIMEOUT)))
    except (OSError, ValueError) as error:  # the network's errors are OSErrors, a wrong checksum is a ValueError
        present = folder / name
        wrong = f"\n  a file there: has sha256 {_sha256(present)}" if present.is_file() else ""
        raise OSError(
            f"could not fetch {name}\n  from: {remote.url}\n  into: {folder}\n  because: {error}{wrong}\n"
            f"Put the right file (sha256 {remote.sha256}) into that folder by hand, or set the environment variable "
            f"SELECTLIB_DATA to a folder that holds it or that can be written to."
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

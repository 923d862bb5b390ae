import pytest
import torch

from selectlib.data import load_arcene, load_madelon

LOADERS = {"madelon": load_madelon, "arcene": load_arcene}
PARTS = {"train": ("1 2 3 \n4 5 6 \n", "1\n-1\n"), "valid": ("7 8 9\n", "-1\n")}


def register_set(folder, register, name, parts):
    for part, texts in parts.items():
        for kind, text in zip(("data", "labels"), texts, strict=True):
            file = folder / f"{name}_{part}.{kind}"
            file.write_text(text)
            register(file.name, text.encode())


@pytest.mark.parametrize("name", ["madelon", "arcene"])
def test_a_small_set_in_the_same_format(folder, register, name):
    register_set(folder, register, name, PARTS)
    made = LOADERS[name]()
    assert made.X.tolist() == [[1, 2, 3], [4, 5, 6]] and made.y.tolist() == [1, -1]
    assert made.X_test.tolist() == [[7, 8, 9]] and made.y_test.tolist() == [-1]
    assert made.X.dtype == made.y.dtype == torch.float64
    assert name in made.description.lower() and "CC BY 4.0" in made.licence


@pytest.mark.parametrize(("name", "shapes"), [("madelon", (2000, 600, 500)), ("arcene", (100, 100, 10_000))])
def test_the_real_sets(real_data, name, shapes):
    made = LOADERS[name]()
    n, m, d = shapes
    assert made.X.shape == (n, d) and made.X_test.shape == (m, d)
    for X, y in ((made.X, made.y), (made.X_test, made.y_test)):
        assert y.shape == X.shape[:1] and set(y.tolist()) == {-1.0, 1.0}
        assert 0 <= X.min() and X.max() < 1000 and torch.equal(X, X.round())
    assert float(made.y.mean()) == (0 if name == "madelon" else -0.12)


@pytest.mark.parametrize(
    ("text", "message"),
    [("1 2\n3\n", "must hold lines of equally many numbers"), ("", "equally many"), ("1 a\n", "must hold numbers")],
)
def test_other_files_are_refused(folder, register, text, message):
    register_set(folder, register, "madelon", PARTS | {"train": (text, "1\n")})
    with pytest.raises(ValueError, match=message):
        load_madelon()

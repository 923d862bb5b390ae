import pytest
from small_project import make_project


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)

"""Every fault that loses work or ends in a riddle elsewhere, and the test that shows what happens here.

The disk is full while a notebook is written   tests/faults/test_full_disk.py::test_a_full_disk_is_named_and_the_same_command_goes_on
... while a cell writes                        tests/faults/test_full_disk.py::test_a_cell_that_fills_the_disk
... while the site is put in its place         tests/faults/test_full_disk.py::test_the_site_that_stood_stays
... while a file is written by the library     tests/test_atomic.py::test_a_failure_leaves_what_was_there
... while a file is downloaded                 tests/faults/test_full_disk.py::test_a_download_leaves_nothing_on_a_full_disk
A limit on the size of files, a quota          tests/faults/test_full_disk.py::test_a_limit_on_the_size_of_files
SIGKILL during the graph                       tests/faults/test_stopped.py::test_the_graph_goes_on_after_a_sigkill
Ctrl-C during the graph                        tests/faults/test_stopped.py::test_the_graph_goes_on_after_ctrl_c
SIGTERM to one run, as batch systems send it   tests/faults/test_stopped.py::test_a_run_that_is_told_to_end
SIGKILL during the score store                 tests/corpora/test_store.py::test_killed_writers_lose_nothing_and_change_nothing
SIGKILL during a scoring job                   tests/corpora/test_resume.py::test_killed_again_and_again_it_ends_with_the_same_bytes
... of one of two processes                    tests/corpora/test_torchrun.py::test_when_one_of_two_dies_the_other_stops_and_one_process_finishes_the_work
Damage in the score store                      tests/corpora/test_store.py::test_damaged_shards_are_pending_again
SIGKILL during the search                      tests/programs/test_evolution.py::test_after_a_kill_it_goes_on_and_leaves_no_workers
Ctrl-C during the search                       tests/programs/test_evolution.py::test_an_interrupted_search_keeps_what_it_has
A corrupted, cut or silent download            tests/data/test_download.py::test_a_failed_download_is_explained_and_leaves_nothing
An interrupted download                        tests/data/test_download.py::test_an_interrupted_download_leaves_nothing
A wrong file in the data folder                tests/data/test_download.py::test_a_wrong_file_outlives_a_failed_download
No network                                     tests/data/test_download.py::test_nobody_listening_is_explained
A parameter unknown or of a wrong type         tests/faults/test_refused_parameters.py::test_a_wrong_parameter_is_named
A parameter out of range                       tests/faults/test_refused_parameters.py::test_a_value_out_of_range_stops_before_the_work
A file of parameters that holds none           tests/faults/test_refused_parameters.py::test_a_file_without_parameters_is_named
A misspelt scale or setting                    tests/test_workflow.py::test_a_bad_request_gets_a_plain_answer
A misspelt file of parameters                  tests/faults/test_refused_parameters.py::test_a_misnamed_file_of_parameters_is_not_left_out_in_silence
A failing cell                                 tests/test_workflow.py::test_a_failing_cell_is_named_and_leaves_the_other_results
"""  # noqa: E501

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTED = re.findall(r"(tests/\S+\.py)::(\w+)", __doc__)


@pytest.mark.parametrize(("file", "test"), LISTED, ids=[test for _, test in LISTED])
def test_the_list_names_tests_that_there_are(file, test):
    tree = ast.parse((ROOT / file).read_text())
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_list_names_every_test_of_a_fault_here():
    for file in Path(__file__).parent.glob("test_*.py"):
        if file != Path(__file__):
            tests = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
            listed = {test for path, test in LISTED if path == str(file.relative_to(ROOT))}
            assert {test for test in tests if test.startswith("test_")} == listed

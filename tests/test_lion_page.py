"""The code on the Lion chapter's page runs as it stands, and the trail that it shows is the one that comes out."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "book/lion/index.md"


def test_the_code_runs_and_the_trail_is_right(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)  # the search writes its checkpoint
    blocks = re.findall(r"```(python|text)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert {language for language, _ in blocks} == {"python", "text"}
    names: dict = {}
    for language, block in blocks:
        if language == "text":
            assert capsys.readouterr().out == block
        else:
            exec(compile(block, str(PAGE), "exec"), names)

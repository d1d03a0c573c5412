"""The run without a campaign: what is refused before the sample's archive is drawn."""

import pytest

from reprocess import run
from reprocess.simulate import archive


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [("--years", "2019", "--years: found 2019"), ("--cluster", "lokal", "did you mean local?")],
)
def test_a_wrong_option_is_refused_before_anything_is_drawn(tmp_path, capsys, option, value, says):
    assert run.main(["--store", str(tmp_path / "sample"), option, value]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "sample").exists()


def test_a_sample_whose_drawing_was_interrupted_is_drawn_again(tmp_path, monkeypatch):
    def interrupted(directory):
        (directory / "sample.yaml").write_text(archive.sample_text(tiny=True))
        raise KeyboardInterrupt

    begun = []
    monkeypatch.setattr(archive, "write_sample", lambda d: begun.append(d) or interrupted(d))
    for _ in range(2):
        assert run.main(["--store", str(tmp_path)]) == 130
    assert begun == [tmp_path, tmp_path]


def test_a_place_where_no_sample_can_be(tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert run.main(["--store", str(tmp_path / "file" / "sample")]) == 2
    assert "sample: cannot be made (Not a directory)" in capsys.readouterr().err

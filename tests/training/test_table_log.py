"""CSV tables: new columns, resumption, and a row cut by a kill."""

from pathlib import Path

from maekit.runs.rows import text_rows
from maekit.training.callbacks.table_log import TableLog, append_row


def test_splits_go_to_their_tables(tmp_path: Path) -> None:
    log = TableLog(tmp_path)
    log.log_metrics({"train/loss": 1.5, "train/lr": 0.1, "val/top1": 50.0}, step=3)
    assert (tmp_path / "train.csv").read_text() == "step,loss,lr\n3,1.5,0.1\n"
    assert text_rows(tmp_path / "val.csv") == [{"step": "3", "top1": "50.0"}]


def test_a_new_column_is_added_to_the_rows_before(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    append_row(file, {"step": 1, "loss": 2.0})
    append_row(file, {"step": 2, "loss": 1.0, "grad_norm": 9.0})
    append_row(file, {"step": 3, "loss": 0.5})
    assert [list(row.values()) for row in text_rows(file)] == [["1", "2.0", ""], ["2", "1.0", "9.0"], ["3", "0.5", ""]]


def test_resuming_drops_what_will_be_made_again_and_a_cut_row(tmp_path: Path) -> None:
    log = TableLog(tmp_path)
    for step in range(1, 6):
        log.log_metrics({"train/loss": float(step), "train/lr": 0.5}, step=step)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("6,")
    log.forget_after(3)
    log.log_metrics({"train/loss": 40.0, "train/lr": 0.5}, step=4)
    assert [row["step"] for row in text_rows(tmp_path / "train.csv")] == ["1", "2", "3", "4"]
    assert text_rows(tmp_path / "train.csv")[-1]["loss"] == "40.0"

"""Words of other tools are answered with the flag or the command of ours."""

import re

import pytest

from maekit.cli import COMMANDS, main
from maekit.errors import UserError
from maekit.recipes import aliases
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import make_parser, resolve
from maekit.recipes.tasks import find_task, shipped_tasks

FIT = ["fit", "--task", "imagenet_finetune", "--recipe", "smoke"]

# What people type, and what the answer must name. From the command lines of facebookresearch/mae, timm, Ultralytics,
# detectron2, mmsegmentation, Lightning and transformers.
TYPED = {
    "--epochs": "--trainer.max_epochs", "--num_epochs": "--trainer.max_epochs", "--epoch": "--trainer.max_epochs",
    "--steps": "--trainer.max_steps", "--max_iter": "--trainer.max_steps", "--total-iters": "--trainer.max_steps",
    "--device": "--trainer.accelerator", "--gpus": "--trainer.devices", "--gpu": "--trainer.accelerator",
    "--nproc_per_node": "--trainer.devices", "--nnodes": "--trainer.num_nodes", "--local_rank": "--trainer.devices",
    "--resume": "--ckpt_path last", "--auto_resume": "--ckpt_path last", "--checkpoint": "--ckpt_path",
    "--ckpt": "--ckpt_path", "--data": "--data.root", "--data_path": "--data.root", "--data-dir": "--data.root",
    "--dataset": "--data.root", "--root": "--data.root", "--patience": "--run.patience",
    "--early_stopping": "--run.patience", "--amp": "--trainer.precision", "--fp16": "--trainer.precision",
    "--bf16": "--trainer.precision", "--half": "--trainer.precision", "--precision": "--trainer.precision",
    "--val": "maekit validate", "--eval": "maekit validate", "--test": "maekit validate", "--project": "--run.folder",
    "--output_dir": "--run.folder", "--output": "--run.folder", "--save_dir": "--run.folder", "--name": "--run.name",
    "--work-dir": "--run.folder", "--log_dir": "--run.folder", "--exp_name": "--run.name", "--freeze": "maekit tasks",
    "--num_classes": "comes from the data", "--nb_classes": "comes from the data", "--pretrained": "--model.weights",
    "--finetune": "--model.weights", "--weights": "--model.weights", "--load-from": "--model.weights",
    "--model": "--model.backbone", "--arch": "--model.backbone", "--backbone": "--model.backbone",
    "--batch": "--data.total_batch_size", "--batch-size": "--data.total_batch_size", "-b": "--data.total_batch_size",
    "--batch_size": "--data.total_batch_size", "--bs": "--data.total_batch_size", "--accum_iter": "device_batch_size",
    "--accumulate_grad_batches": "--data.device_batch_size", "--lr": "--optim.base_lr", "--lr0": "--optim.base_lr",
    "--learning-rate": "--optim.base_lr", "--learning_rate": "--optim.lr", "--blr": "--optim.base_lr",
    "--min_lr": "--optim.min_lr", "--wd": "--optim.weight_decay", "--weight_decay": "--optim.weight_decay",
    "--weight-decay": "--optim.weight_decay", "--workers": "--data.num_workers", "--num_workers": "--data.num_workers",
    "-j": "--data.num_workers", "--imgsz": "--data.image_size", "--img-size": "--data.image_size",
    "--input-size": "--data.image_size", "--input_size": "--data.image_size", "--config-file": "--config",
    "--cfg": "--config", "--opts": "--optim.layer_decay", "--cfg-options": "--optim.layer_decay",
    "--dist_eval": "all devices", "--layer_decay": "--optim.layer_decay", "--layer-decay": "--optim.layer_decay",
    "--drop_path": "--model.drop_path", "--drop-path": "--model.drop_path", "--smoothing": "--model.label_smoothing",
    "--mixup": "--model.mixup", "--cutmix": "--model.cutmix", "--mixup_prob": "--model.mix_probability",
    "--reprob": "--data.random_erasing", "--aa": "--data.rand_augment", "--clip_grad": "--trainer.gradient_clip_val",
    "--color_jitter": "--data.rand_augment", "--global_pool": "--model.pooling", "--cls_token": "--model.pooling",
    "--warmup_epochs": "--optim.warmup_epochs", "--warmup-epochs": "--optim.warmup_epochs", "--seed": "--run.seed",
    "--cache": "read from disk", "--fast_dev_run": "--trainer.max_steps 3", "--debug": "--trainer.max_steps 3",
    "--max_epochs": "--trainer.max_epochs", "--max_steps": "--trainer.max_steps", "--opt": "--optim.optimizer",
    "--limit_val_batches": "--trainer.limit_val_batches", "--sched": "--optim.schedule", "--optimizer": "optimizer",
    "--model-ema": "--model.ema_decay", "--grad_checkpointing": "--model.gradient_checkpointing", "--pin_mem": "GPU",
    "--torchcompile": "--run.compile", "--log_wandb": "--run.wandb", "--wandb": "--run.wandb",
    "--exist_ok": "overwrite",
    "--save_period": "--run.save_every_minutes", "--eval_interval": "--trainer.check_val_every_n_epoch",
    "--print_freq": "--trainer.log_every_n_steps", "--compile": "--run.compile", "--trainer.epochs": "max_epochs",
    "--model.epochs": "--trainer.max_epochs", "--data.batch_size": "--data.total_batch_size", "--verbosity": "--help",
    "--model.blr": "--optim.base_lr", "--trainer.lr": "--optim.lr", "--trainer.gpus": "--trainer.devices",
    "--trainer.min_epochs": "--trainer.max_epochs", "--trainer.limit_predict_batches": "maekit predict",
    "epochs=5": "--trainer.max_epochs", "optim.lr=0.1": "--optim.lr", "imgsz=64": "--data.image_size",
}  # fmt: skip


@pytest.mark.parametrize("word", TYPED)
def test_a_flag_of_another_tool_is_answered_with_ours(word: str) -> None:
    task = find_task("imagenet_finetune")
    with pytest.raises(UserError) as caught:
        resolve(load_recipe(task, "smoke"), task.load(), [word, "5"], training=True)
    assert TYPED[word] in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "word", "answer"),
    [
        ("ade20k_upernet", "--imgsz", "--data.crop_size"),
        ("imagenet_robustness", "--lr", "evaluates only"),
        ("imagenet_robustness", "--freeze", "never trains its backbone"),
        ("imagenet_robustness", "--epochs", "--trainer.max_epochs"),
        ("coco_maskrcnn", "--limit_train_batches", "--trainer.max_steps"),
        ("mae_pretrain", "--trainer.limit_train_batches", "--trainer.max_steps"),
    ],
)
def test_where_a_task_lacks_the_usual_answer_its_own_is_given(task: str, word: str, answer: str) -> None:
    found = find_task(task)
    with pytest.raises(UserError) as caught:
        resolve(load_recipe(found, "smoke"), found.load(), [word, "5"], training=True)
    assert answer in str(caught.value), str(caught.value)


def test_each_flag_that_the_table_answers_with_exists() -> None:
    known: set[str] = set()
    for task in shipped_tasks():
        known |= {f"--{key}" for key in make_parser(task.load(), training=True).get_defaults().as_flat().__dict__}
    known |= {"--ckpt_path", "--task", "--recipe", "--version"}
    for answer in (*aliases._FLAGS, *aliases._OWN):
        for flag in re.findall(r"--[a-z_]+\.[a-z_]+|--(?:ckpt_path|task|recipe|config)\b", answer):
            assert flag in known, answer
    for answer in aliases._COMMANDS:
        assert answer.split()[0] in (*COMMANDS, "--version")


def test_a_word_has_one_answer() -> None:
    for table in (aliases._FLAGS, aliases._COMMANDS):
        words = " ".join(table.values()).split()
        assert sorted(words) == sorted(set(words)), [word for word in words if words.count(word) > 1]


def test_a_flag_that_this_task_does_not_have_is_not_advised() -> None:
    task = find_task("ade20k_upernet")
    with pytest.raises(UserError, match="unknown flag '--smoothing'") as caught:
        resolve(load_recipe(task, "smoke"), task.load(), ["--smoothing", "0.1"], training=True)
    assert "label_smoothing" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit", "--epochs", "5"], "--trainer.max_epochs"),  # a task was not given either
        (["train"], "`maekit fit`"),
        (["finetune"], "`maekit fit`"),
        (["pretrain"], "maekit tasks"),
        (["resume"], "--ckpt_path last"),
        (["test"], "`maekit validate`"),
        (["eval"], "`maekit validate`"),
        (["val"], "`maekit validate`"),
        (["list"], "`maekit tasks`"),
        (["ls"], "`maekit tasks`"),
        (["convert"], "`maekit weights convert`"),
        (["onnx"], "`maekit export`"),
        (["tensorboard"], "`maekit watch`"),
        (["infer"], "`maekit predict`"),
        (["detect"], "`maekit predict`"),
        (["predict", "--ckpt_path", "x", "--images", "y", "--batch-size", "4"], "use --batch_size"),
        (["predict", "--ckpt_path", "x", "--images", "y", "--save_dir", "z"], "use --output"),
        (["predict", "--ckpt_path", "x", "--images", "y", "--gpu=0"], "use --device"),
        (["embed", "x", "--weights", "y", "--output", "z", "--imgsz", "64"], "use --image_size"),
        (["knn", "--features", "x", "--k", "5"], "use --neighbours"),
        (["similar", "x", "--features", "y", "--topk", "5"], "use --top"),
        (["reconstruct", "x", "--weights", "y", "--mask-ratio", "0.5"], "use --mask_ratio"),
        (["weights", "convert", "x", "y", "--to", "mae", "--outptu", "5"], "unknown flag '--outptu'"),
    ],
)
def test_a_command_of_another_tool_is_answered_with_ours(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and expected in lines[0], lines


def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    assert "\nTrain:\n  fit " in capsys.readouterr().out
    assert main(["help", "knn"]) == 0
    assert "--neighbours" in capsys.readouterr().out
    assert main(["help", "fit"]) == 0
    assert "--ckpt_path" in capsys.readouterr().out

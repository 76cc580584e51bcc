"""Words of facebookresearch/mae, timm, Ultralytics, detectron2, mmsegmentation and Lightning, and ours for them.

Standard library only.
"""

from collections.abc import Container

# Our answer -> the words that ask for it, with underscores. An answer that starts with `--` is a flag of ours.
_FLAGS = {
    "--trainer.max_epochs": "epochs epoch num_epochs n_epochs max_epoch total_epochs train_epochs num_train_epochs",
    "--trainer.max_steps": "steps iters iterations max_iter max_iters total_steps total_iters num_steps n_iter",
    "--trainer.max_time": "time max_hours time_limit",
    "--trainer.accelerator (cpu or gpu), and which GPUs with --trainer.devices [0]": "device gpu cuda cpu use_gpu",
    "--trainer.devices": "gpus gpu_ids num_gpus n_gpus ngpus nproc nproc_per_node num_devices world_size",
    "--trainer.num_nodes": "nodes nnodes num_machines",
    "--trainer.precision": "amp fp16 bf16 fp32 half mixed_precision use_amp native_amp amp_dtype dtype autocast",
    "--trainer.strategy": "ddp distributed_backend backend",
    "--trainer.gradient_clip_val": "clip_grad clip grad_clip gradient_clip max_norm max_grad_norm clip_norm",
    "--trainer.check_val_every_n_epoch": "val_interval eval_interval eval_freq val_freq validate_every",
    "--trainer.log_every_n_steps": "log_interval print_freq log_every log_freq logging_steps",
    "--trainer.max_steps 3": "fast_dev_run debug dev_run smoke_test",
    "--trainer.profiler simple": "profile profiling",
    "--trainer.sync_batchnorm": "sync_bn syncbn",
    "--ckpt_path last": "resume resume_from resume_from_checkpoint auto_resume continue restore resume_training",
    "--ckpt_path": "checkpoint ckpt checkpoint_path load_checkpoint load_ckpt",
    "--task": "task_name",
    "--recipe": "preset",
    "--config": "cfg config_file config_path cfg_file hyp yaml",
    "--data.root": "data data_path data_dir data_root dataset dataset_path dataset_dir root train_dir path",
    "--data.total_batch_size (of all devices together; --data.device_batch_size is of one)": "batch batch_size bs b",
    "--data.device_batch_size": "per_device_train_batch_size batch_size_per_gpu samples_per_gpu accum_iter accumulate "
    "grad_accum grad_accum_steps accumulation_steps gradient_accumulation_steps update_freq",
    "--data.num_workers": "workers worker j num_worker dataloader_num_workers n_workers",
    "--data.image_size": "imgsz img_size input_size resolution res img size image_sizes",
    "--data.rand_augment": "aa auto_augment autoaugment randaugment",
    "--data.random_erasing": "reprob random_erase erasing",
    "--data.horizontal_flip": "hflip fliplr flip_prob",
    "--data.val_fraction": "val_split validation_split split",
    "--model.backbone": "model arch architecture model_name net network encoder model_size",
    "--model.weights": "pretrained finetune init_checkpoint initial_checkpoint pretrained_weights weight pretrain "
    "load_from init_weights pretrained_path model_path from_pretrained",
    "--model.new_head": "reset_head new_classifier",
    "--optim.base_lr (per 256 images), or --optim.lr (absolute)": "lr learning_rate lr0 max_lr",
    "--optim.base_lr": "blr",
    "--optim.min_lr": "lrf lr_end eta_min final_lr",
    "--optim.weight_decay": "wd l2",
    "--optim.betas": "opt_betas adam_betas beta beta1 beta2",
    "--optim.layer_decay": "layer_lr_decay llrd lr_layer_decay",
    "--model.drop_path": "drop_path_rate droppath stochastic_depth",
    "--model.label_smoothing": "smoothing ls",
    "--model.mix_probability": "mixup_prob",
    "--model.mix_switch_probability": "mixup_switch_prob",
    "--model.ema_decay": "ema model_ema model_ema_decay use_ema",
    "--optim.optimizer": "opt optim",
    "--optim.schedule": "sched scheduler lr_scheduler lr_schedule",
    "--optim.warmup_epochs": "warmup",
    "--model.pooling": "global_pool cls_token gp pool",
    "--model.target normalised_pixels": "norm_pix_loss",
    "--model.gradient_checkpointing": "grad_checkpointing grad_ckpt use_checkpoint checkpointing",
    "--run.folder": "project output output_dir save_dir save_path out out_dir outdir work_dir log_dir logdir runs_dir",
    "--run.name": "name exp exp_name experiment experiment_name run_name",
    "--run.seed": "random_seed manual_seed",
    "--run.save_every_minutes": "save_period save_interval save_freq checkpoint_interval",
    "--run.wandb PROJECT": "log_wandb wandb_project use_wandb report_to logger",
    "--run.compile": "torchcompile torch_compile",
    "--run.num_threads": "threads cpu_threads",
    "`maekit validate`": "eval eval_only evaluate val test validate test_only do_eval",
    "`maekit predict`": "predict inference source",
    "--run.patience (validations without improvement)": "patience early_stopping early_stop early_stopping_patience",
    "--run.min_delta": "min_delta early_stopping_min_delta early_stopping_threshold delta",
    "--run.keep_best": "save_top_k top_k_checkpoints keep_top_k keep_checkpoints save_total_limit checkpoint_hist",
    "the number of classes comes from the data": "num_classes nb_classes nc n_classes classes num_labels",
    "--model.freeze backbone (the linear probe is a task of its own, see `maekit tasks`)": "freeze frozen "
    "freeze_backbone freeze_encoder linear_probe linprobe",
    "--model.tuned_blocks (how many of the last blocks are trained)": "freeze_layers frozen_stages num_frozen_layers "
    "unfreeze freeze_at tune_blocks partial",
    "--model.lora_rank": "lora lora_r r use_lora peft",
    "--model.lora_targets": "target_modules lora_target_modules",
    "any key is a flag of its own, as --optim.layer_decay 0.75; `maekit fit --task NAME --help` lists them": "opts "
    "cfg_options options override overrides set kwargs",
    "evaluation always runs on all devices": "dist_eval dist_on_itp distributed",
    "images are always read from disk": "cache cache_images ram",
    "the launcher sets it; --trainer.devices 2 starts two processes, and torchrun works too": "local_rank rank "
    "node_rank dist_url master_port",
    "colours are changed by --data.rand_augment only": "color_jitter jitter hsv_h hsv_s hsv_v",
    "pinned memory is used where there is a GPU": "pin_mem pin_memory no_pin_mem",
    "a new run never overwrites an earlier one": "exist_ok overwrite force",
    "add -v for the trace of an error": "verbose",
}
# Where a task lacks the key of an answer, the one that it has in its place.
_INSTEAD = {"data.image_size": "data.crop_size"}
_ANSWERS = {word: answer for answer, words in _FLAGS.items() for word in words.split()}

_COMMANDS = {
    "fit": "train training finetune fine-tune run start trainer",
    "fit --ckpt_path last": "resume continue",
    "fit --task NAME, with the pre-training task that `maekit tasks` lists": "pretrain pre-train",
    "validate": "test eval evaluate val valid score",
    "predict": "infer inference detect segment classify",
    "tasks": "list ls recipes models",
    "runs": "ps history jobs experiments status",
    "runs rm": "rm remove delete",
    "runs prune": "prune clean cleanup",
    "weights convert": "convert",
    "export": "onnx torchscript deploy",
    "watch": "tensorboard dashboard monitor live serve",
    "completion": "completions autocomplete complete",
    "weights inspect": "inspect info",
    "data check": "check verify",
    "data make": "make",
    "sweep": "tune search optimize study hpo",
    "embed": "features extract encode",
    "show": "config cfg recipe",
    "report": "plot summary html",
    "--version": "version",
}
_COMMAND_ANSWERS = {word: answer for answer, words in _COMMANDS.items() for word in words.split()}

# For commands that read a checkpoint: the words that ask for one of their own flags, of which a command has some.
_OWN = {
    "--model": "weights checkpoint ckpt ckpt_path model_path resume load",
    "--ckpt_path": "weights checkpoint ckpt model model_path resume load",
    "--weights": "ckpt_path checkpoint ckpt model model_path pretrained load",
    "--images": "source input inputs img path data folder image dir",
    "--output": "out save_dir output_dir project name o save outdir dest out_dir",
    "--device": "gpu gpus cuda devices accelerator",
    "--batch_size": "batch bs b",
    "--num_workers": "workers j",
    "--image_size": "imgsz img_size size input_size resolution",
    "--root": "data data_path path dataset data_dir folder",
    "--classes": "num_classes nb_classes nc",
    "--neighbours": "k neighbors n_neighbors knn",
    "--clusters": "k n_clusters num_clusters",
    "--top": "k topk top_k n num",
    "--mask_ratio": "ratio",
    "--precision": "fp16 bf16 amp dtype",
    "--to": "format target",
    "--trials": "n_trials num_trials",
}


def flag_answer(word: str, known: Container[str]) -> str | None:
    """Returns what `maekit fit` has for a flag of another tool, or None where the word is not in the table.

    Args:
        word: the flag without its dashes, spelled with `-` or `_`; with or without a section in front.
        known: our dotted keys of the task at hand; empty where no task was given.
    """
    plain = word.lower().replace("-", "_")
    answer = _ANSWERS.get(plain) or _ANSWERS.get(plain.rsplit(".", 1)[-1])
    same = next((f"{part}.{plain}" for part in ("model", "data", "trainer", "run") if f"{part}.{plain}" in known), None)
    if answer is None:
        return None if same is None else f"use --{same}"
    if not answer.startswith(("--", "`maekit v", "`maekit p")):
        return answer
    key = answer.removeprefix("--").split()[0]
    if "." in key and known and key not in known:
        same = _INSTEAD[key] if _INSTEAD.get(key, "") in known else same
        return None if same is None else f"use --{same}"
    return f"use {answer}"


def command_answer(word: str) -> str | None:
    """Returns our command for a command of another tool, or None where the word is not in the table."""
    return _COMMAND_ANSWERS.get(word.lower().replace("_", "-"))


def own_flag(word: str, options: Container[str]) -> str | None:
    """Returns the flag of a command that a word asks for: itself with the other dash, or one for the same thing.

    Args:
        word: as typed, without its leading dashes.
        options: the command's flags, with dashes.
    """
    plain = word.lower().replace("-", "_")
    if f"--{plain}" in options:
        return f"--{plain}"
    return next((flag for flag, words in _OWN.items() if flag in options and plain in words.split()), None)

"""Values to try for every flag of `maekit fit`: what must be taken, and what must be refused in one line.

A good value may bring other flags along that it needs, as `lars --optim.momentum=0.9`.
"""

from typing import NamedTuple


class Values(NamedTuple):
    """What a flag takes, and what it refuses."""

    good: tuple[str, ...]
    bad: tuple[str, ...]


def real(*good: str, bad: str = "") -> Values:
    """Of a number: text and NaN are bad, too."""
    return Values(good, (*bad.split(), "nonsense", ".nan"))


def whole(*good: str, bad: str = "") -> Values:
    """Of a whole number: text and fractions are bad, too."""
    return Values(good, (*bad.split(), "nonsense", "1.5"))


def numbers(*good: str, bad: str = "") -> Values:
    """Of a list of numbers."""
    return Values(good, (*bad.split(), "nonsense", "[nonsense]"))


def choice(*good: str, bad: str = "") -> Values:
    """Of some words."""
    return Values(good, (*bad.split(), "nonsense", "7"))


def text(*good: str, bad: str = "") -> Values:
    """Any text, but what is said to be bad."""
    return Values(good, tuple(bad.split()))


SWITCH = choice("true", "false", bad="null")
COUNT = whole("1", "2", bad="0 -1")
SHARE = real("0.5", "1", bad="0 -0.5 1.5")
PROBABILITY = real("0", "0.5", "1", bad="-0.1 1.5")
BELOW_ONE = real("0", "0.5", bad="-0.1 1 1.5")
NOT_NEGATIVE = real("0", "0.5", "3", bad="-0.1")
CHANNELS = "[0.5,0.5] [0.5,0.5,0.5,0.5]"
LARS = "--optim.momentum=0.9 --optim.trust_coefficient=0.001"
LORA = "--model.lora_rank=4"

FLAGS = {
    "data.allow_empty": SWITCH,
    "data.annotations": choice("auto", "coco", "yolo"),
    "data.cat_max_ratio": SHARE,
    "data.bands": text("13", "B4,B3,B2,B8", "[R,G,B]", "grey", "null", bad="0 65 a,a a,,b"),
    "data.file_bands": text("null", "B2,B3,B4", "[B2,B3]", bad="a,a"),
    "data.stats": text("null"),
    "data.shown_bands": text("null", "R,G,B", "[R,G,B]", bad="R,G R,R,G"),
    "data.fold": text("1/5", "5/5", "null", bad="0/5 6/5 1/1 nonsense"),
    "data.group_column": text("null", "patient --data.table=table.csv"),
    "data.label_column": text("null", "label --data.table=table.csv"),
    "data.path_column": text("null", "file --data.table=table.csv"),
    "data.split_column": text("null", "split --data.table=table.csv"),
    "data.sampling": choice("uniform", "balanced", "null", "weighted --data.weight_column=w --data.table=table.csv"),
    "data.table": text("null", "table.csv"),
    "data.mask_column": text("null", "mask --data.table=table.csv"),
    "data.weight_column": text("null", "weight --data.table=table.csv"),
    "data.colour_edges": choice("refuse", "ignore"),
    "data.colours": text("null"),
    "data.group_pattern": text("null", "^([^_]+)_", bad="("),
    "data.classes": text("null", "[a,b]", "classes.txt"),
    "data.corrupted_crop_fraction": SHARE,
    "data.crop_clip": SWITCH,
    "data.crop_ratio": numbers("[0.5,2]", "[1,1]", bad="[2,0.5] [1] [0,1] [1,2,3] [-1,1]"),
    "data.crop_scale": numbers("[0.08,1]", "[1,1]", bad="[1,0.5] [0.5] [0,1] [0.1,1.5] [-1,1]"),
    "data.crop_size": whole("64 --data.resize=[64,64]", bad="0 -64"),
    "data.decoder": choice("fast", "pillow"),
    "data.device_batch_size": whole("1", "4", "null", bad="0 -4"),
    "data.eval_crop_fraction": SHARE,
    "data.horizontal_flip": PROBABILITY,
    "data.image_size": whole("64", bad="0 -64"),
    "data.images": choice("large", "small", "null"),
    "data.imagenet_a": text("a"),
    "data.imagenet_c": text("a"),
    "data.imagenet_r": text("a"),
    "data.imagenet_sketch": text("a"),
    "data.label_separator": text("null", ";"),
    "data.label_values": numbers("null", "[1,2,3]"),
    "data.masks": choice("auto", "true", "false", bad="null"),
    "data.mean": numbers("[0,0,0]", "[0.5,0.4,0.3]", bad=f"{CHANNELS} [-1,0,0] [127,127,127]"),
    "data.num_workers": whole("0", "2", "null", bad="-1"),
    "data.orientation": choice("auto", "upright", "stored"),
    "data.photometric": SWITCH,
    "data.probe_image_size": whole("32", "null", bad="0 -32"),
    "data.probe_root": text("digits", "null"),
    "data.rand_augment": text("rand-m9-mstd0.5-inc1", "null", bad="rand-m9-n0.5 augmix nonsense"),
    "data.random_erasing": PROBABILITY,
    "data.reduced_decode": choice("never", "train"),
    "data.reduce_zero_label": choice("auto", "true", "false"),
    "data.resize": numbers("[64,64]", "[128,64]", bad="[64] [0,64] [64,64,64] [-1,64]"),
    "data.resize_ratio": numbers("[0.5,2]", "[1,1]", bad="[2,0.5] [0,1] [1]"),
    "data.root": text("folder"),
    "data.scale_range": numbers("[0.1,2]", "[1,1]", bad="[2,0.1] [0,1] [1]"),
    "data.split_seed": whole("0", "5", bad="-1"),
    "data.std": numbers("[1,1,1]", "[0.2,0.3,0.4]", bad=f"{CHANNELS} [0,1,1] [1,1,-1]"),
    "data.synthetic": choice("null"),
    "data.total_batch_size": whole("8 --optim.lr=0.1 --optim.base_lr=null", bad="0 -4"),
    "data.train_images": text("a"),
    "data.train_json": text("a"),
    "data.val_fraction": real("0.1", "0.5", bad="0 1 -0.1"),
    "data.val_images": text("a"),
    "data.val_json": text("a"),
    "data.version": choice("places365", "places205", "null"),
    "data.white": real("auto", "4095", "65535", bad="0 -1"),
    "data.year": choice("null"),
    "model.aux_channels": COUNT,
    "model.aux_index": whole("0", "3", bad="4 -1"),
    "model.aux_weight": NOT_NEGATIVE,
    "model.backbone": text("vit_smoke_patch8", bad="vit_nonsense"),
    "optim.base_lr": real("0.1 --optim.lr=null", bad="0 -1"),
    "optim.betas": numbers("[0.9,0.95]", "[0,0]", bad="[0.9] [0.9,1] [-0.1,0.9] [0.9,0.9,0.9]"),
    "model.cached_features": SWITCH,
    "model.class_weights": text("none"),
    "model.classifier_std": real("0.1", bad="0 -1"),
    "model.cutmix": NOT_NEGATIVE,
    "model.decoder_depth": COUNT,
    "model.decoder_heads": whole("1", "4", bad="0 -1 3"),
    "model.decoder_width": whole("32", bad="0 -4 33"),
    "model.detector": choice("maekit"),
    "model.drop_path": BELOW_ONE,
    "model.dropout": BELOW_ONE,
    "model.ema_decay": real("0", "0.9", "null", bad="1 -0.1 2"),
    "model.encoder_mask_tokens": SWITCH,
    "model.flip": SWITCH,
    "model.freeze": choice("null", "embeddings", "backbone", bad="blocks"),
    "optim.gamma": real("0.1", "1", bad="0 -0.1 2"),
    "model.global_blocks": numbers("[]", "[1,3]", bad="[9] [-1]"),
    "model.gradient_checkpointing": SWITCH,
    "model.head": text("maekit", "mmseg:FCNHead", bad="mmsegmentation UPerHead mmseg: mmseg:UperHead mmseg:PSAHead"),
    "model.head_args": Values(("null", '{"num_convs":1} --model.head=mmseg:FCNHead'), ("5", "[a]", '{"num_convs":1}')),
    "model.head_channels": whole("16 --model.head=mmseg:FCNHead", "null", bad="0 -1"),
    "model.head_init_std": real("0.1", bad="0 -1"),
    "model.label_loss": choice("bce", "asymmetric", bad="null"),
    "model.label_smoothing": BELOW_ONE,
    "optim.layer_decay": SHARE,
    "model.layer_scale": real("0.1", "null", bad="-1 0"),
    "model.lora_alpha": real("null", f"0.5 {LORA}", bad="0 -1 8"),
    "model.lora_dropout": real("0", f"0.5 {LORA}", bad="-0.1 1 0.5"),
    "model.lora_rank": whole(bad="0 -1 99999"),
    "model.lora_targets": text("null", f"qkv {LORA}", f"[qkv,proj] {LORA}", f"fc1,fc2 {LORA}", bad="qkv"),
    "optim.lr": real("0.1 --optim.base_lr=null", bad="0 -1"),
    "model.mask_ratio": real("0.5", "0.75", bad="0 1 -1 2"),
    "model.masking": choice("random", "block", "grid"),
    "model.mask_rcnn.anchor_ratios": numbers("[0.5,1,2]", bad="[] [0] [-1]"),
    "model.mask_rcnn.anchor_sizes": numbers("[8,16,32,64,128]", bad="[] [0,1,1,1,1] [8]"),
    "model.mask_rcnn.box_pool": COUNT,
    "model.mask_rcnn.cascade_box_weights": numbers(
        "[[20,20,10,10]] --model.mask_rcnn.cascade_iou=[0.6]", "[]", bad="[[1]] [1]"
    ),
    "model.mask_rcnn.cascade_iou": numbers(
        "[0.6] --model.mask_rcnn.cascade_box_weights=[[20,20,10,10]]", "[]", bad="[0.6] [1.5] [-1]"
    ),
    "model.mask_rcnn.box_weights": numbers("[1,1,1,1]", bad="[1] [0,1,1,1]"),
    "model.mask_rcnn.fc_channels": COUNT,
    "model.mask_rcnn.head_channels": COUNT,
    "model.mask_rcnn.mask_pool": COUNT,
    "model.mask_rcnn.max_detections": COUNT,
    "model.mask_rcnn.min_score": PROBABILITY,
    "model.mask_rcnn.nms_iou": PROBABILITY,
    "model.mask_rcnn.norm": choice("LN", "BN"),
    "model.mask_rcnn.num_box_convs": whole("0", "1", bad="-1"),
    "model.mask_rcnn.num_mask_convs": whole("0", "1", bad="-1"),
    "model.mask_rcnn.num_rpn_convs": COUNT,
    "model.mask_rcnn.roi_batch": COUNT,
    "model.mask_rcnn.roi_iou": PROBABILITY,
    "model.mask_rcnn.roi_positive": PROBABILITY,
    "model.mask_rcnn.rpn_batch": COUNT,
    "model.mask_rcnn.rpn_iou": numbers("[0.3,0.7]", bad="[0.7,0.3] [0.5] [0,2]"),
    "model.mask_rcnn.rpn_nms_iou": PROBABILITY,
    "model.mask_rcnn.rpn_positive": PROBABILITY,
    "model.mask_rcnn.rpn_post_nms": numbers("[10,10]", bad="[10] [0,10]"),
    "model.mask_rcnn.rpn_pre_nms": numbers("[10,10]", bad="[10] [0,10]"),
    "optim.milestones": numbers("[5,9]", "null", bad="[-1] [9,5]"),
    "optim.min_lr": real("0", "1e-6", bad="-1"),
    "optim.min_lr_scaled": SWITCH,
    "model.metrics": text("null", "top1", "[kappa,auroc]", "top5,calibration_error", bad="nonsense [top1,nonsense] []"),
    "model.mix_probability": PROBABILITY,
    "model.mix_switch_probability": PROBABILITY,
    "model.mixup": NOT_NEGATIVE,
    "optim.momentum": real("0", "0.9", bad="-0.1 1"),
    "model.new_bands": choice("mean", "repeat", "fresh", bad="null"),
    "model.batch_norm": SWITCH,
    "model.lr_factors": numbers("[0.1,1] --model.batch_norm=false", "null", bad="[] [0] [-1] [1,1]"),
    "model.new_head": SWITCH,
    "optim.no_weight_decay": Values(("[]", "[1d,bias,layer_norm]"), ("[nonsense]",)),
    "model.num_components": whole("8 --model.target=pca", bad="8 0 -1"),
    "optim.optimizer": choice("adamw --optim.betas=[0.9,0.95]", f"lars {LARS}", "sgd --optim.momentum=0.9"),
    "optim.poly_after_warmup": SWITCH,
    "model.pooling": choice("mean", "class"),
    "model.pos_grid": numbers("[4,4]", "null", bad="[4] [0,4] [4,4,4]"),
    "optim.power": real("0.5", "2", bad="-1 0"),
    "model.probe_images": COUNT,
    "model.monitor": Values((), ("nonsense", "7")),  # the metrics differ by family
    "model.probe_neighbours": COUNT,
    "model.pyramid": choice("simple --model.taps=[3]", "taps --model.taps=[0,1,2,3]"),
    "model.pyramid_channels": whole("32", bad="0 -1"),
    "model.relative_position": choice("decomposed", "shared", "null"),
    "model.scales": numbers("null", "[0.5,1]", bad="[0] [] [-1]"),
    "optim.schedule": choice("cosine", "poly", "multistep --optim.milestones=[5]"),
    "model.taps": numbers(bad="[9] [0,1] [-1]"),
    "model.target": choice("pixels", "normalised_pixels", "pca --model.num_components=8"),
    "model.threshold": real("0.5", "null", bad="0 1 -1 2"),
    "optim.trust_coefficient": real("0.01", bad="0 -1"),
    "model.tuned_blocks": real("0", "0.5", "1", "4", bad="-1 0.7 1.5 9"),
    "model.value_loss": choice("l1", "l2", "huber", bad="null"),
    "optim.warmup_epochs": real("0 --optim.warmup_steps=null", "1.5 --optim.warmup_steps=null", bad="-1"),
    "optim.warmup_start": PROBABILITY,
    "optim.warmup_steps": whole("0", "5 --optim.warmup_epochs=null", bad="-1"),
    "optim.weight_decay": NOT_NEGATIVE,
    "model.weights": text("none", "mae_vit_smoke"),
    "model.window": whole("0", "3", bad="-1"),
    "model.window_batch": COUNT,
    "model.window_stride": whole("32", bad="0 -1 100"),
    "run.channels_last": SWITCH,
    "run.checkpoint_content": choice("whole", bad="null changed"),  # changed: with weights, which these runs have not
    "run.compile": choice("auto", "true", "false", bad="null"),
    "run.extend": SWITCH,
    "run.folder": text("elsewhere"),
    "run.matmul_precision": choice("highest", "high", bad="medium null"),
    "run.name": text("null", "mine", bad=". .. a/b"),
    "run.new_data": SWITCH,
    "run.patience": whole("3", "null", bad="0 -1"),
    "run.min_delta": real("0", "0.5 --run.patience=3", bad="-0.1"),
    "run.keep_best": whole("1", "3", bad="0 -1 null"),
    "run.keep_nan_step": SWITCH,
    "run.num_threads": whole("1", "null", bad="0 -1"),
    "run.report": choice("true", "false", "null", bad="later"),
    "run.save_every_minutes": real("0", "0.5", bad="-1"),
    "run.seed": whole("0", "5", bad="-1 4294967296"),
    "run.stop_at_step": whole("1", "null", bad="0 -1"),
    "run.timeout_minutes": real("0.5", "60", bad="0 -1 2000"),
    "run.wandb": text("null"),
    "trainer.accelerator": choice("auto", "cpu", bad="tpu gpu cuda mps"),
    "trainer.benchmark": choice("true", "false", "null"),
    "trainer.check_val_every_n_epoch": whole("1", "3", bad="0 -1"),
    "trainer.detect_anomaly": SWITCH,
    "trainer.deterministic": choice("true", "false", "warn", "null"),
    "trainer.devices": Values(("auto", "1"), ("0", "-2", "-1", "two", "[0]", "0,1", "[]", "1.5", "null", "99")),
    "trainer.enable_model_summary": choice("true", "false", "null"),
    "trainer.enable_progress_bar": choice("true", "false", "null"),
    "trainer.gradient_clip_algorithm": choice("norm", "value", "null"),
    "trainer.gradient_clip_val": real("0", "0.5", "1", "null", bad="-1"),
    "trainer.inference_mode": SWITCH,
    "trainer.limit_val_batches": real("0", "1", "1.0", "null", bad="-1 1.5 0.0001"),
    "trainer.log_every_n_steps": whole("1", "null", bad="0 -1"),
    "trainer.max_epochs": whole("1", "-1", "null", bad="0 -2"),
    "trainer.max_steps": whole("1", bad="0 -2 null"),
    "trainer.max_time": Values(
        ("00:01:00:00", '{"hours":1}', "null"), ("5", "1h", "01:00", '{"hour":1}', '{"hours":-1}')
    ),
    "trainer.num_nodes": whole("1", bad="0 -1"),
    "trainer.num_sanity_val_steps": whole("0", "-1", "null", bad="-2"),
    "trainer.precision": choice("auto", "32-true", "bf16-mixed", bad="64-true 16-true bf16-true 16-mixed 16 32 bf16"),
    "trainer.profiler": choice("simple", "advanced", "null", bad="pytorch"),
    "trainer.strategy": Values(
        ("auto", "ddp", "fsdp2", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false"),
        ("ddp_spawn", "ddp_fork", "ddp_notebook", "fsdp", "fsdp1", "deepspeed", "single_device", "nonsense"),
    ),
    "trainer.sync_batchnorm": choice("false", bad="true null"),
    "trainer.val_check_interval": real("1", "7", "0.5", "null", bad="0 -1 1.5"),
}

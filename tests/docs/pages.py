"""How each page is run: what its folder holds, and which flags its commands get beside the stand-ins of all pages."""

from tests.docs.stand_ins import FLAGS, Page

IMAGES = ("my_images", "photos")
SMALL = {"fit": f"{FLAGS['fit']} --data.total_batch_size 32"}  # the recipes' own batches are larger than the toys
TINY = {"fit": f"{FLAGS['fit']} --model.weights none --data.total_batch_size 4 --trainer.check_val_every_n_epoch 1"}
PAGES: dict[str, Page] = {
    "adapt.md": Page(("photos=my_images",), {"adapt": "--trainer.max_epochs 1"}),
    "bands.md": Page(("fields",)),
    "coming_from/lightly_train.md": Page(("my_images",)),
    "coming_from/mae.md": Page(flags=SMALL),
    "coming_from/retfound.md": Page(("my_images",)),
    "coming_from/timm.md": Page(flags=SMALL),
    "commands.md": Page((*IMAGES, "my_masks"), {"adapt": "--trainer.max_epochs 1"}),
    "dense_features.md": Page(("photos", "my_masks")),
    "export.md": Page(IMAGES),
    "getting_started.md": Page(IMAGES),
    "large_images.md": Page(("my_masks", "scene.tif")),
    "layer_decay.md": Page(("my_images",)),
    "own_data.md": Page(("my_images", "my_objects", "flowers", "test_images=flowers")),
    "pictures.md": Page(("mine=my_images",), words={"300": "3"}),
    "plan.md": Page(("photos",)),
    "predict.md": Page((*IMAGES, "my_masks", "my_objects")),
    "rare_classes.md": Page(("my_images",)),
    "reference/python.md": Page(("my_images",)),
    "reports.md": Page(("my_images",)),
    "runs.md": Page(IMAGES),
    "targets.md": Page(("my_table",)),
    "tasks/ade20k_linear.md": Page(("my_masks",)),
    "tasks/ade20k_upernet.md": Page(("my_masks",)),
    "tasks/coco_maskrcnn.md": Page(("my_objects",)),
    "tasks/imagenet_finetune.md": Page(("my_images",)),
    "tasks/imagenet_linprobe.md": Page(("my_images",)),
    "tasks/imagenet_partial.md": Page(("my_images",)),
    "tasks/imagenet_scratch.md": Page(("my_images",)),
    "tasks/inaturalist_finetune.md": Page(("photos",), SMALL),
    "tasks/mae_pretrain.md": Page(("photos",), TINY),
    "tasks/multilabel_finetune.md": Page(("my_table",)),
    "tasks/ordinal_finetune.md": Page(("my_table",)),
    "tasks/places_finetune.md": Page(("photos",), SMALL),
    "tasks/regression_finetune.md": Page(("my_table",)),
    "weights.md": Page(("photos",)),
}

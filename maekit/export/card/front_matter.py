"""The metadata block of a model card, in the Hugging Face hub's form. Nothing here uses the network."""

from huggingface_hub import EvalResult, ModelCardData

from maekit.export.card.subject import Subject
from maekit.export.card.text import plain
from maekit.system.plain import table

_PIPELINES = {"encoder": "image-feature-extraction", "pretraining": "image-feature-extraction"}
_PIPELINES |= dict.fromkeys(("classifier_mean", "classifier_class", "linear_probe"), "image-classification")
_PIPELINES |= {"segmenter": "image-segmentation"}
_PIPELINES |= dict.fromkeys(
    (f"{kind}detector" for kind in ("", "box_", "cascade_", "cascade_box_")), "object-detection"
)
_LIBRARIES = {"hf": "transformers", "timm": "timm", "mae": "pytorch", "detectron2": "detectron2"}
_OFFICIAL_DATA = "imagenet-1k"  # what all of MAE's published files were trained on
# The identifiers that the hub takes for `license`, of those that weights of images are likely to have.
_HUB_LICENCES = {
    "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "lgpl-3.0", "mit", "mpl-2.0", "openrail",
    "unlicense",
}  # fmt: skip


def front_matter(subject: Subject, title: str) -> ModelCardData:
    """Returns the metadata of a card; what is not known is left out.

    A licence that the hub has no identifier for is `other` with its name, since the hub refuses unknown identifiers.
    """
    kind, licence = subject.facts.kind, subject.licence
    library = "transformers" if subject.facts.layout.startswith("transformers") else _LIBRARIES.get(subject.to or "")
    known = licence.ident in _HUB_LICENCES
    results = _results(subject)
    return ModelCardData(
        license=(licence.ident if known else "other") if licence.ident else None,
        license_name=licence.ident if licence.ident and not known else None,
        base_model=licence.base_model or None,
        library_name=library,
        pipeline_tag=_PIPELINES.get(kind),
        tags=["maekit", "masked-autoencoder", "vit", *(["mae"] if kind in ("encoder", "pretraining") else [])],
        datasets=[_OFFICIAL_DATA] if licence.authors and not subject.run_card else None,
        metrics=sorted(subject.measured()) or None,
        model_name=title if results else None,
        eval_results=results or None,
    )


def _results(subject: Subject) -> list[EvalResult]:
    """The measured metrics; none where the data set's name is not known, which the hub requires."""
    root = table(table(subject.run_card.get("config")).get("data")).get("root")
    data = plain(root) if isinstance(root, str) else ""
    task = _PIPELINES.get(subject.facts.kind, "image-feature-extraction")
    return [
        EvalResult(
            task_type=task,
            dataset_type=data,
            dataset_name=data,
            dataset_split="validation",
            metric_type=metric,
            metric_name=metric,
            metric_value=value,
        )
        for metric, value in subject.measured().items()
        if data
    ]

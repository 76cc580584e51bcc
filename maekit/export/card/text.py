"""The sections of a model card that are the same for all masked autoencoders, and how a value is written in one."""

import re

from maekit.weights.get.find import HUB

_RUNS = "runs"

OUT_OF_SCOPE = """\
- Decisions about people, and anything where a wrong answer does harm: nothing here was measured for that.
- Images unlike the training data's (other sensors, other subjects, other sizes) without measuring it there first.
- Pictures of hidden patches as evidence of what was there: they are guesses."""

LIMITS = """\
- The weights reflect the statistics of the images they were trained on, the biases of those images with them.
- What a decoder draws in place of hidden patches follows such statistics; it may be something that never existed.
- A classifier or other head carries on the biases of the labels it learned from, such as which classes there are and
  how unevenly they are photographed.
- These are warnings that hold for all masked autoencoders; biases of these weights were not measured."""

PUBLISHED_DATA = """\
- MAE's published weights, from which these come, were trained on ImageNet-1K: they have seen it, biases included."""

CITATION = """\
```bibtex
@inproceedings{he2022masked,
  title         = {Masked Autoencoders Are Scalable Vision Learners},
  author        = {He, Kaiming and Chen, Xinlei and Xie, Saining and Li, Yanghao and Doll{\\'a}r, Piotr and
                   Girshick, Ross},
  booktitle     = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year          = {2022},
  eprint        = {2111.06377},
  archivePrefix = {arXiv}
}
```"""


def plain(value: object) -> str:
    """Returns a value of a configuration as text; a path is cut to its name, or to the part from the folder `runs` on.

    Where a file lies on somebody's machine is private, and the path may hold a person's name.
    """
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(plain(each) for each in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {plain(each)}' for key, each in value.items())}}}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, str) or value.startswith(HUB) or not re.search(r"[/\\]", value):
        return str(value)
    parts = [part for part in re.split(r"[/\\]", value) if part not in ("", ".", "..", "~")]
    first = parts.index(_RUNS) if _RUNS in parts else max(len(parts) - 1, 0)
    return "/".join(parts[first:])

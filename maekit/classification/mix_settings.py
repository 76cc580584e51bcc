"""The settings of smoothed labels and of images mixed in pairs, which classes and labels share."""

from dataclasses import dataclass

from maekit.base.settings import TunedSettings
from maekit.system.ranges import check_range


@dataclass(frozen=True, kw_only=True)
class MixSettings(TunedSettings):
    """A model that may be trained on smoothed labels and mixed images.

    Args:
        label_smoothing: share of the target that is spread over all classes; of several labels, how far each is moved
            to 1/2; in [0, 1).
        mixup: alpha of mixup's Beta distribution; 0 turns mixup off.
        cutmix: alpha of cutmix's Beta distribution; 0 turns cutmix off.
        mix_probability: how often a batch is mixed at all, in [0, 1].
        mix_switch_probability: how often cutmix is taken when both are on, in [0, 1].
    """

    label_smoothing: float
    mixup: float
    cutmix: float
    mix_probability: float
    mix_switch_probability: float

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.label_smoothing", self.label_smoothing, "[0, 1)")
        check_range("model.mixup", self.mixup, "[0, inf)")
        check_range("model.cutmix", self.cutmix, "[0, inf)")
        check_range("model.mix_probability", self.mix_probability, "[0, 1]")
        check_range("model.mix_switch_probability", self.mix_switch_probability, "[0, 1]")

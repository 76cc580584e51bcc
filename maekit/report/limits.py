"""From where on a number is worth a sentence. Chosen so that a sentence is rarely made of noise; none is published."""

VALIDATIONS = 5  # of fewer nothing is said about a run's course
FLAT_SHARE = 0.02  # a last third that adds at most this share of the whole gain is a plateau
LOST_SHARE = 0.05  # the last value is past the best one if it is worse by more than this share, and by the interval
PATIENCE = 5  # validations without improvement after which a run may as well end
RISING_SHARE = 0.10  # one that adds at least this share is still rising
LATE = 0.8  # share of the steps after which the best value is a late one
LOW_LR = 0.5  # share of the peak below which a plateau may be the schedule's doing
LOSS_RISE = 0.10  # of the validation loss over its lowest, relative, while the training loss falls:
TRAIN_FALL = 0.05  # by this, relative, in the same time
UNSURE = 0.03  # half of the metric's interval over its value
RULE_OF_THREE = 3  # of n images without a mistake up to 3 / n may still go wrong, at 95 % (0.05 = (1 - p)^n)
RECOGNISED = 0.5  # share of a class that is predicted right; below it a wrong prediction says nothing of the label
COLLAPSED = 0.95  # share of all images that are predicted as one class
LITTLE = 5  # training images or objects of a class: of fewer it can hardly be learned
SMALL_CLASS = 3  # images or objects of a class: of fewer nothing is said
TAKEN = 0.20  # share of a class that is taken for one other
MISSED = 0.30  # share of a class's objects that no box is on
SPURIOUS = 0.50  # boxes where there is no object, by the number of objects
UNBALANCED = 10.0  # training images of the most frequent class by those of the rarest
MOST = 3  # sentences of one kind

# Of studies, and of runs that are compared
PAIRS = 3  # seeds or folds of both sides: of fewer no difference is called clear, since two may agree by chance
POWER = 2.8  # standard errors between two means that are found 4 times of 5 with a 95 % interval (1.96 + 0.84)
MOST_SEEDS = 10  # of a command; a difference that needs more is seldom worth their cost
FEW_SEEDS = 3  # of a command where there was one seed
CURVE = 3  # values of a key: of fewer there is no shape
END_SHARE = 0.05  # of a range: a best value closer to one end than this is at it; a random one is in 1 of 10 studies
UNLIKELY = 0.05  # probability of a split of images that is called clear, as that of the intervals

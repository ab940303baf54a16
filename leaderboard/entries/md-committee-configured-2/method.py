"""The committee of `md_committee`, told what a person knows of their own training: data, size, steps, learning rate.

Diagnosis presumes that the training configuration is unknown; somebody who asks about their own network knows it. So this
is another track, marked by its colour.
"""

from collections.abc import Mapping, Sequence

from baselines.md_committee import MEMBERS, MDCommittee, columns_of

#: Task → the coordinates of each member.
TOLD: dict[str, list[tuple[str, ...]]] = {
    "optimizer": [
        *MEMBERS["optimizer"],
        ("log_examples", "log_parameters", "log_stable_rank"),
        ("parameters_per_example", "log_steps", "disagreement"),
        ("log_examples", "log_steps_per_epoch", "log_spikes"),
        ("parameters_per_example", "noise_scale", "scaled_trace"),
        ("log_steps", "log_rest", "noise_distance"),
    ],
    "width_vs_optimizer": [
        ("log_parameters", "log_spikes", "log_stable_rank"),
        ("log_steps_per_epoch", "exponent", "curve_log_loss"),
        ("log_examples", "relative_peak", "disagreement"),
        ("noise_scale", "scaled_trace", "curve_log_loss"),
        ("log_parameters", "log_spikes", "log_stable_rank"),
        ("log_steps", "exponent", "curve_log_loss"),
        ("log_examples", "disagreement", "curve_log_loss"),
        ("noise_scale", "barrier"),
    ],
    "data_vs_optimizer": [
        *MEMBERS["data_vs_optimizer"],
        ("log_examples", "disagreement", "log_error"),
        ("log_examples", "log_steps_per_epoch", "log_stable_rank"),
        ("log_parameters", "relative_peak", "disagreement"),
        ("parameters_per_example", "log_rest"),
        ("log_examples", "relative_peak", "error_gap"),
        ("log_examples", "log_rest", "curve_log_loss"),
    ],
    "failure_source": [
        *MEMBERS["failure_source"],
        ("log_examples", "log_steps_per_epoch", "log_spikes"),
        ("parameters_per_example", "disagreement"),
        ("noise_scale", "barrier"),
        ("log_examples", "curve_log_loss", "disagreement"),
        ("log_steps", "log_rest", "exponent"),
    ],
}
columns = columns_of(TOLD)


class MDCommitteeConfigured(MDCommittee):
    """The same, with other members."""

    members_of: Mapping[str, Sequence[tuple[str, ...]]] = TOLD


method = MDCommitteeConfigured

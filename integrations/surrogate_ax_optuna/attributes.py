"""What is recorded in the attributes of trials and studies; the names are stored, so they never change.

Trials: the round is written with the trial, the recipe as soon as the point is known. `surrogate:exact` is the number
of the proposal that the trial evaluates, `surrogate:result` has the values of every metric, NFE and seconds, and the
step where the trial was stopped, if it was (its values are estimates then), `surrogate:reason` says why it failed,
`surrogate:estimates` has estimates that were reported otherwise to the pruner, `preview` is the artifact id of a
picture.
Studies: `surrogate:study` is what `execution.session` records of the search, `surrogate:seeds` the folder of stored
seeds where the user has named one; a mirror records its metrics.
"""

RECIPE_ATTR = "surrogate:recipe"
ROUND_ATTR = "surrogate:round"
PROPOSAL_ATTR = "surrogate:exact"
RESULT_ATTR = "surrogate:result"
REASON_ATTR = "surrogate:reason"
ESTIMATES_ATTR = "surrogate:estimates"
LEASE_ATTR = "surrogate:lease"
PREVIEW_ATTR = "preview"
TICKET_ATTR = "mirror:ticket"

STUDY_ATTR = "surrogate:study"
SEEDS_ATTR = "surrogate:seeds"
METRICS_ATTR = "mirror:metrics"

"""Statistics of the table: over repeated splits, over participants, and over families of tests.

- `splits`: scores of repeated random splits, which share participants.
- `people`: predictions where everybody is tested equally often; `intervals`, `paired`, `chance` and `delong` work on
  them, with families as the unit that is drawn, swapped and dealt out.
- `families`: Holm's correction, mean ranks.
- `rates`: how often each test errs where there is nothing to find (``python -m boldtable.statistics.rates``).
"""

from boldtable.statistics.chance import dealt_out
from boldtable.statistics.families import holm, mean_ranks
from boldtable.statistics.intervals import interval, wilson
from boldtable.statistics.paired import paired_test, sign_flips
from boldtable.statistics.people import Outcomes, statistic
from boldtable.statistics.splits import (
    FEWEST,
    PairedTest,
    Predictions,
    Summary,
    corrected_paired_test,
    permutation_test,
    summary,
)

__all__ = [
    "FEWEST",
    "Outcomes",
    "PairedTest",
    "Predictions",
    "Summary",
    "corrected_paired_test",
    "dealt_out",
    "holm",
    "interval",
    "mean_ranks",
    "paired_test",
    "permutation_test",
    "sign_flips",
    "statistic",
    "summary",
    "wilson",
]
